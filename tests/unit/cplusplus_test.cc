// SPDX-License-Identifier: Apache-2.0
// A C++ program that uses the library as its users do: through baton.h and libbaton.so alone.
#include <baton.h>

#include <cstdio>
#include <cstring>

namespace
{

unsigned failed;

bool check(bool ok, const char *what)
{
    std::printf("%s  %s\n", ok ? "ok    " : "FAILED", what);
    failed += !ok;
    return ok;
}

// The loaded library is the one of the header, and C linkage holds.
bool version_agrees()
{
    char expected[32];

    std::snprintf(expected, sizeof(expected), "%d.%d.%d", BATON_VERSION_MAJOR, BATON_VERSION_MINOR,
                  BATON_VERSION_PATCH);
    return std::strcmp(baton_version(), expected) == 0 && *baton_strerror(BATON_EINVAL) != '\0';
}

// Options are made the C++ way, and an engine with a pool comes and goes.
bool engine_lives()
{
    baton_engine_options options{};
    baton_pool_options pool_options{};
    baton_engine *engine = nullptr;
    baton_pool *pool = nullptr;
    baton_error error{};

    options.size = sizeof(options);
    pool_options.size = sizeof(pool_options);
    pool_options.block_bytes = 4096;
    pool_options.block_count = 4;
    if (baton_engine_create(&options, &engine, &error) != BATON_OK ||
        baton_pool_create(engine, &pool_options, &pool, &error) != BATON_OK) {
        std::printf("  %s\n", error.text);
        return false;
    }
    if (!baton_pool_block(pool, 3) || baton_pool_block(pool, 4)) {
        return false;
    }
    baton_engine_close(engine);
    return baton_engine_drain(engine, 5000) == BATON_OK &&
           baton_engine_destroy(engine, &error) == BATON_OK;
}

// An error comes back with a message, as a value and not as an exception.
bool error_has_a_message()
{
    struct baton_ticket_view view = {}; // struct: there is a function of this name, too
    baton_error error{};
    const char junk[] = "no ticket";

    return baton_ticket_inspect(junk, sizeof(junk), &view, &error) == BATON_ETICKET &&
           error.code == BATON_ETICKET && error.text[0] != '\0';
}

} // namespace

int main()
{
    unsigned passed = 0;

    passed += check(version_agrees(), "version_agrees");
    passed += check(engine_lives(), "engine_lives");
    passed += check(error_has_a_message(), "error_has_a_message");
    std::printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
