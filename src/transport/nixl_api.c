/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding NIXL's C library, and refusing what is not one.  Every check comes before the first call
 * that could abort: a stub aborts in all of its functions but one, and a stub that found itself
 * when it looked for the real library calls itself without end.
 */
#include "transport/nixl_api.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/assert.h"
#include "util/error.h"

#define LIBRARY_DEFAULT "libnixl_capi.so"
#define INSTALL                                                                                    \
    "install it (pip install --no-deps nixl-cu13==1.5.1) and set " NIXL_LIBRARY_VARIABLE           \
    " to its " LIBRARY_DEFAULT

enum {
    VERSION_MAJOR = 1, /* whose layouts the header has */
};

#define SYMBOL(name)                                                                               \
    {                                                                                              \
        "nixl_capi_" #name, offsetof(struct nixl_api, name)                                        \
    }

static const struct symbol {
    const char *name;
    size_t offset;
} symbols[] = {
    SYMBOL(is_stub),
    SYMBOL(create_configured_agent),
    SYMBOL(destroy_agent),
    SYMBOL(create_params),
    SYMBOL(params_add),
    SYMBOL(destroy_params),
    SYMBOL(create_backend),
    SYMBOL(destroy_backend),
    SYMBOL(create_opt_args),
    SYMBOL(opt_args_add_backend),
    SYMBOL(opt_args_set_notif_msg),
    SYMBOL(opt_args_set_has_notif),
    SYMBOL(opt_args_get_has_notif),
    SYMBOL(opt_args_set_skip_desc_merge),
    SYMBOL(destroy_opt_args),
    SYMBOL(create_reg_dlist),
    SYMBOL(reg_dlist_add_desc),
    SYMBOL(destroy_reg_dlist),
    SYMBOL(register_mem),
    SYMBOL(deregister_mem),
    SYMBOL(get_local_md),
    SYMBOL(load_remote_md),
    SYMBOL(check_remote_md),
    SYMBOL(invalidate_remote_md),
    SYMBOL(agent_make_connection),
    SYMBOL(create_xfer_dlist),
    SYMBOL(xfer_dlist_add_desc),
    SYMBOL(xfer_dlist_desc_count),
    SYMBOL(destroy_xfer_dlist),
    SYMBOL(prep_xfer_dlist),
    SYMBOL(release_xfer_dlist_handle),
    SYMBOL(make_xfer_req),
    SYMBOL(post_xfer_req),
    SYMBOL(get_xfer_status),
    SYMBOL(release_xfer_req),
    SYMBOL(destroy_xfer_req),
    SYMBOL(gen_notif),
    SYMBOL(create_notif_map),
    SYMBOL(get_notifs),
    SYMBOL(notif_map_size),
    SYMBOL(notif_map_get_agent_at),
    SYMBOL(notif_map_get_notifs_size),
    SYMBOL(notif_map_get_notif),
    SYMBOL(notif_map_clear),
    SYMBOL(destroy_notif_map),
};

enum { SYMBOLS = sizeof(symbols) / sizeof(symbols[0]) };

/* `lock` protects both; once `handle` is set neither changes. */
static struct nixl_api loaded;
static void *handle;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static baton_err resolve(void *library, const char *file, struct nixl_api *api,
                         struct baton_error *ret_error)
{
    _Static_assert(sizeof(void *) == sizeof(void (*)(void)), "POSIX: dlsym() finds functions");

    for (unsigned i = 0; i < SYMBOLS; i++) {
        void *address = dlsym(library, symbols[i].name);

        if (!address) {
            return error_set(ret_error, BATON_EINVAL, "%.120s has no function %s: %s", file,
                             symbols[i].name,
                             i ? "NIXL 1.0 to 1.5 has it; nixl-cu13==1.5.1 is what was tried"
                               : "it is not NIXL's C library");
        }
        memcpy((char *)api + symbols[i].offset, &address, sizeof(address));
    }
    return BATON_OK;
}

/* The name of the folder of a file with an absolute path. */
static const char *folder_name(const char *path)
{
    const char *name = strrchr(path, '/');

    while (name > path && name[-1] != '/') {
        name--;
    }
    return name;
}

/* The version, from the records that pip keeps beside the folder of a wheel's libraries: the
 * library tells none.  The folder is named ".PACKAGE.mesonpy.libs". */
static void version_find(struct nixl_api *api)
{
    const char *folder = folder_name(api->path), *package = folder + (*folder == '.');
    int root = (int)(folder - api->path), length = (int)strcspn(package, "./");
    char pattern[sizeof(api->path) + 32];
    glob_t matches = {0};

    snprintf(pattern, sizeof(pattern), "%.*s%.*s-*.dist-info", root, api->path, length, package);
    if (!glob(pattern, 0, NULL, &matches) && matches.gl_pathc == 1) {
        const char *found = matches.gl_pathv[0] + root + length + 1;

        snprintf(api->version, sizeof(api->version), "%.*s",
                 (int)(strlen(found) - strlen(".dist-info")), found);
    }
    globfree(&matches);
}

static baton_err version_check(const struct nixl_api *api, struct baton_error *ret_error)
{
    if (api->version[0] && strtol(api->version, NULL, 10) != VERSION_MAJOR) {
        return error_set(ret_error, BATON_EINVAL,
                         "NIXL %s is not known here, its interface may be another: " INSTALL,
                         api->version);
    }
    return BATON_OK;
}

/* It brings the library that it wraps.  A stub does not, wherever it forwards to. */
static baton_err stub_check(const struct nixl_api *api, struct baton_error *ret_error)
{
    void *core = api->is_stub() ? NULL : dlopen("libnixl.so", RTLD_NOLOAD | RTLD_LAZY);

    if (!core) {
        return error_set(ret_error, BATON_EINVAL,
                         "%.100s is a stub, with no NIXL behind it: " INSTALL, api->path);
    }
    dlclose(core);
    return BATON_OK;
}

/* Where a UCX lies that is in this process already. */
static int ucx_look(struct dl_phdr_info *object, size_t size, void *arg)
{
    const char *name = strrchr(object->dlpi_name, '/'), **ret_ucx = arg;

    (void)size;
    if (name && !strncmp(name, "/libucp", strlen("/libucp"))) {
        *ret_ucx = object->dlpi_name;
    }
    return 0;
}

/* NIXL's backend brings a UCX of its own, whose symbols have the same names as any other's. */
static baton_err ucx_check(const struct nixl_api *api, struct baton_error *ret_error)
{
    const char *ucx = NULL, *folder = folder_name(api->path);
    char real[sizeof(api->path)];

    dl_iterate_phdr(ucx_look, &ucx);
    if (ucx && realpath(ucx, real) && strncmp(real, api->path, folder - api->path) != 0) {
        return error_set(ret_error, BATON_EBUSY,
                         "another UCX is in this process, %.100s: NIXL and its own UCX can not be "
                         "loaded beside it",
                         ucx);
    }
    return BATON_OK;
}

/* What can be tried without an agent: statuses, counts and flags mean what the header says. */
static bool behaves(const struct nixl_api *api)
{
    struct nixl_hints *hints = NULL;
    struct nixl_spans *spans = NULL;
    bool has = false, ok = api->destroy_agent(NULL) == NIXL_INVALID;
    size_t count = 0;

    ok = ok && api->create_opt_args(&hints) == NIXL_OK && hints;
    ok = ok && api->opt_args_set_has_notif(hints, true) == NIXL_OK &&
         api->opt_args_get_has_notif(hints, &has) == NIXL_OK && has;
    ok = ok && api->create_xfer_dlist(NIXL_DRAM, &spans) == NIXL_OK && spans;
    ok = ok && api->xfer_dlist_add_desc(spans, (uintptr_t)&count, sizeof(count), 0) == NIXL_OK &&
         api->xfer_dlist_desc_count(spans, &count) == NIXL_OK && count == 1;
    if (hints) {
        ok = api->destroy_opt_args(hints) == NIXL_OK && ok;
    }
    if (spans) {
        ok = api->destroy_xfer_dlist(spans) == NIXL_OK && ok;
    }
    return ok;
}

static baton_err library_check(void *library, const char *name, struct nixl_api *api,
                               struct baton_error *ret_error)
{
    baton_err err = resolve(library, name, api, ret_error);
    const struct link_map *map = NULL;
    char real[sizeof(api->path)];

    if (err) {
        return err;
    }
    if (dlinfo(library, RTLD_DI_LINKMAP, &map) || !realpath(map->l_name, real)) {
        return error_set(ret_error, BATON_ESYSTEM, "where %.150s lies can not be seen", name);
    }
    memcpy(api->path, real, sizeof(real));
    version_find(api);
    err = version_check(api, ret_error);
    err = err ? err : stub_check(api, ret_error);
    err = err ? err : ucx_check(api, ret_error);
    if (!err && !behaves(api)) {
        err = error_set(ret_error, BATON_EINVAL,
                        "%.100s does not behave as NIXL 1.0 to 1.5 does: " INSTALL, name);
    }
    return err;
}

static baton_err load(const char *name, struct baton_error *ret_error)
{
    struct nixl_api api = {0};
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    baton_err err;

    if (!library) {
        const char *why = dlerror();

        return error_set(ret_error, BATON_ESYSTEM, "NIXL is not there; " INSTALL ": %s",
                         why ? why : "unknown");
    }
    err = library_check(library, name, &api, ret_error);
    if (err) {
        dlclose(library);
        return err;
    }
    loaded = api;
    handle = library;
    return BATON_OK;
}

/* Whether `name` is the library that is loaded: dlopen() knows files by their inodes. */
static bool is_loaded(const char *name)
{
    void *library = dlopen(name, RTLD_NOLOAD | RTLD_LAZY);

    if (library) {
        dlclose(library);
    }
    return library == handle;
}

baton_err nixl_api_load(const char *path, const struct nixl_api **ret_api,
                        struct baton_error *ret_error)
{
    const char *wanted = path ? path : getenv(NIXL_LIBRARY_VARIABLE);
    baton_err err = BATON_OK;

    BATON_ASSERT(ret_api);
    pthread_mutex_lock(&lock);
    if (!handle) {
        err = load(wanted ? wanted : LIBRARY_DEFAULT, ret_error);
    } else if (wanted && !is_loaded(wanted)) {
        err = error_set(ret_error, BATON_EBUSY,
                        "this process has loaded NIXL from %.90s already, and can not load %.90s",
                        loaded.path, wanted);
    }
    if (!err) {
        *ret_api = &loaded;
    }
    pthread_mutex_unlock(&lock);
    return err;
}
