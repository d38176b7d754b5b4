/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices of the shm transport, one by one: how much lands between two looks at the stop flag.
 *
 * Without movers each progress() is a slice.  With a mover, the sink's pages are watched with
 * userfaultfd: the mover stands still in the middle of its slice until the test fills the page, so
 * "stop while a mover copies" is a fact and not a race.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform/host_loop.h"
#include "test.h"

enum {
    PAGE = 4096,
    BLOCKS = 64,
    WINDOW_PAGES = 8,
    WINDOWS = BLOCKS / WINDOW_PAGES,
    BYTES = PAGE * BLOCKS,
};

/* A sink whose blocks and slices are pages, in order, and a source that is mapped. */
struct stage {
    struct host_loop loop;
    struct transport *transport;
    struct transport_link *link;
    struct transport_region region;
    unsigned char *sink;
    int uffd;
    uint32_t blocks[BLOCKS];
    struct plan plan;
    atomic_bool stop;
    struct transport_window windows[WINDOWS];
    unsigned given_back, wanted;
};

static void count(void *arg, struct transport_window *window)
{
    struct stage *stage = arg;

    (void)window;
    stage->given_back++;
}

static void region_make(struct stage *stage)
{
    int memfd = memfd_create("stall", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CHECK(ftruncate(memfd, BYTES) == 0);
    CHECK(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    CHECK(region_map(&stage->region, 0, BYTES, PAGE, memfd, NULL) == BATON_OK);
}

static void stage_init(struct stage *stage, unsigned movers)
{
    struct transport_options options = {.movers = movers,
                                        .slice_bytes = PAGE,
                                        .window_bytes = WINDOW_PAGES * PAGE,
                                        .links_max = 1,
                                        .windows_max = WINDOWS};
    struct transport_link_args args = {.sink = true};

    memset(stage, 0, sizeof(*stage));
    stage->uffd = -1;
    CHECK(host_loop_init(&stage->loop));
    stage->loop.arg = stage;
    stage->loop.on_window_done = count;
    region_make(stage);
    stage->sink = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        stage->blocks[i] = i;
    }
    stage->plan = (struct plan){PAGE, BLOCKS, stage->blocks, stage->blocks};
    CHECK(transport_shm.create(&stage->loop.host, &options, &stage->transport, NULL) == BATON_OK);
    host_loop_drive(&stage->loop, &transport_shm, stage->transport);
    CHECK(transport_shm.link_open(stage->transport, &args, &stage->link, NULL) == BATON_OK);
}

static void stage_fini(struct stage *stage)
{
    if (stage->link) {
        transport_shm.link_close(stage->link);
    }
    transport_shm.destroy(stage->transport);
    region_unmap(&stage->region);
    munmap(stage->sink, BYTES);
    close(stage->uffd);
    host_loop_fini(&stage->loop);
}

static void post(struct stage *stage, unsigned i, uint64_t fetch_id)
{
    stage->windows[i] = (struct transport_window){.link = stage->link,
                                                  .plan = &stage->plan,
                                                  .sink_base = stage->sink,
                                                  .region = &stage->region,
                                                  .stop = &stage->stop,
                                                  .offset = (uint64_t)i * WINDOW_PAGES * PAGE,
                                                  .length = WINDOW_PAGES * PAGE,
                                                  .fetch_id = fetch_id};
    transport_shm.post(&stage->windows[i]);
}

static bool all_back(void *arg)
{
    const struct stage *stage = arg;

    return stage->given_back >= stage->wanted;
}

/* Drive until `windows` were given back.  A mover that should have stopped and stands still is let
 * go by closing the descriptor: the test fails, and ends. */
static void finish(struct stage *stage, unsigned windows)
{
    stage->wanted = windows;
    if (!CHECK(host_loop_until(&stage->loop, all_back, stage))) {
        close(stage->uffd);
        stage->uffd = -1;
        host_loop_until(&stage->loop, all_back, stage);
    }
}

/* Without movers: a slice each progress(), and not one byte after the stop. */
TEST(without_movers_progress_copies_one_slice)
{
    for (unsigned slices = 0; slices < WINDOW_PAGES; slices++) {
        struct stage stage;

        stage_init(&stage, 0);
        post(&stage, 0, 1);
        post(&stage, 1, 1);
        for (unsigned i = 0; i < slices; i++) {
            CHECK(transport_shm.progress(stage.transport));
            CHECK(stage.windows[0].landed == (uint64_t)(i + 1) * PAGE);
        }
        transport_shm.stop(stage.link, 1);
        CHECK(stage.given_back == 2);
        CHECK(stage.windows[0].landed == (uint64_t)slices * PAGE);
        CHECK(stage.windows[0].status == TRANSPORT_ABORTED);
        CHECK(stage.windows[1].landed == 0);
        CHECK(!transport_shm.progress(stage.transport));
        stage_fini(&stage);
    }
}

/* Without movers a process's memory is not read at all, since that may block; it is said once. */
TEST(without_movers_a_process_is_not_read)
{
    struct stage stage;

    stage_init(&stage, 0);
    stage.region.process = true;
    post(&stage, 0, 1);
    post(&stage, 1, 1);
    host_loop_settle(&stage.loop, 100);
    CHECK(stage.given_back == 2);
    CHECK(stage.windows[0].status == TRANSPORT_FAILED && stage.windows[0].landed == 0);
    CHECK(stage.windows[1].status == TRANSPORT_FAILED);
    CHECK(stage.loop.warnings == 1 && strstr(stage.loop.last_log, "movers") != NULL);
    stage_fini(&stage);
}

/* A pidfd whose process has ended: the pid may be another process's by now. */
static int ended_pidfd(void)
{
    pid_t pid = fork();
    int pidfd;

    if (pid == 0) {
        _exit(0);
    }
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    CHECK(pidfd >= 0 && waitpid(pid, NULL, 0) == pid);
    return pidfd;
}

/* All bytes were read, but from a process that had the dead one's pid: no window says OK. */
TEST(bytes_of_a_reused_pid_are_not_taken)
{
    static const unsigned char foreign[BYTES];
    struct transport_region mapped;
    struct stage stage;

    stage_init(&stage, 1);
    mapped = stage.region;
    stage.region = (struct transport_region){.process = true,
                                             .length = BYTES,
                                             .block_bytes = PAGE,
                                             .remote_base = (uint64_t)(uintptr_t)foreign,
                                             .pid = getpid(),
                                             .pidfd = ended_pidfd()};
    post(&stage, 0, 1);
    finish(&stage, 1);
    CHECK(stage.windows[0].status == TRANSPORT_PEER_DEAD);
    close(stage.region.pidfd);
    stage.region = mapped;
    stage_fini(&stage);
}

/* A plan that leads past the region fails, and reads nothing there. */
TEST(a_plan_past_the_region_fails)
{
    for (unsigned movers = 0; movers < 2; movers++) {
        struct stage stage;

        stage_init(&stage, movers);
        stage.region.length = 3 * PAGE;
        post(&stage, 0, 1);
        finish(&stage, 1);
        CHECK(stage.windows[0].status == TRANSPORT_FAILED);
        CHECK(stage.windows[0].landed == 3 * PAGE);
        stage.region.length = BYTES;
        stage_fini(&stage);
    }
}

/* Limits are errors. */
TEST(too_many_movers_and_links_are_refused)
{
    struct transport_options options = {.movers = BATON_MOVERS_MAX + 1,
                                        .slice_bytes = PAGE,
                                        .window_bytes = PAGE,
                                        .links_max = 1,
                                        .windows_max = 1};
    struct transport_link_args args = {.sink = true};
    struct transport_link *link = NULL;
    struct transport *transport = NULL;
    struct baton_error error;
    struct stage stage;

    stage_init(&stage, 0);
    CHECK(transport_shm.create(&stage.loop.host, &options, &transport, &error) == BATON_EINVAL);
    CHECK(transport_shm.link_open(stage.transport, &args, &link, &error) == BATON_ELIMIT);
    CHECK(!transport && !link);
    stage_fini(&stage);
}

/* Writes to the sink's pages wait until the test fills them. */
static bool watch_sink(struct stage *stage)
{
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register range = {.range = {(uintptr_t)stage->sink, BYTES},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};

    stage->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    return stage->uffd >= 0 && ioctl(stage->uffd, UFFDIO_API, &api) == 0 &&
           ioctl(stage->uffd, UFFDIO_REGISTER, &range) == 0;
}

/* Wait until a mover stands still; returns the page that it wants to write. */
static unsigned stalled_page(struct stage *stage)
{
    struct pollfd pollfd = {.fd = stage->uffd, .events = POLLIN};
    struct uffd_msg message = {0};

    CHECK(poll(&pollfd, 1, HOST_LOOP_DRIVE_MS_MAX) == 1);
    CHECK(read(stage->uffd, &message, sizeof(message)) == (ssize_t)sizeof(message));
    return (unsigned)((message.arg.pagefault.address - (uintptr_t)stage->sink) / PAGE);
}

static void let_go(struct stage *stage, unsigned page)
{
    struct uffdio_zeropage zero = {
        .range = {(uintptr_t)stage->sink + (uintptr_t)page * PAGE, PAGE}};

    CHECK(ioctl(stage->uffd, UFFDIO_ZEROPAGE, &zero) == 0);
}

static bool touched(const struct stage *stage, unsigned page)
{
    unsigned char resident = 0;

    CHECK(mincore(stage->sink + (size_t)page * PAGE, PAGE, &resident) == 0);
    return resident & 1;
}

enum how {
    BY_CALL,
    BY_FLAG,
    BY_CLOSE,
    WAYS,
};

static void end(struct stage *stage, enum how how)
{
    switch (how) {
    case BY_CALL:
        transport_shm.stop(stage->link, 1);
        break;
    case BY_FLAG:
        atomic_store(&stage->stop, true);
        break;
    default:
        transport_shm.link_close(stage->link);
        stage->link = NULL;
        break;
    }
}

/*
 * End it while the mover stands in the `slice`-th slice: what is queued comes back at once, what is
 * in the mover's hand after this very slice, and the driving thread never waits.
 */
static void end_in_slice(unsigned slice, enum how how)
{
    struct stage stage;

    stage_init(&stage, 1);
    if (!watch_sink(&stage)) {
        test_skip("no userfaultfd here");
        stage_fini(&stage);
        return;
    }
    post(&stage, 0, 1);
    post(&stage, 1, 1);
    for (unsigned i = 0; i < slice; i++) {
        CHECK(stalled_page(&stage) == i);
        let_go(&stage, i);
    }
    CHECK(stalled_page(&stage) == slice);
    end(&stage, how);
    CHECK(stage.given_back == (how == BY_FLAG ? 0 : 1));
    transport_shm.progress(stage.transport);
    CHECK(stage.given_back < 2);
    let_go(&stage, slice);
    finish(&stage, 2);
    CHECK(stage.windows[0].landed == (uint64_t)(slice + 1) * PAGE);
    CHECK(stage.windows[0].status ==
          (slice + 1 == WINDOW_PAGES ? TRANSPORT_OK : TRANSPORT_ABORTED));
    CHECK(stage.windows[1].landed == 0 && stage.windows[1].status == TRANSPORT_ABORTED);
    for (unsigned i = slice + 1; i < BLOCKS; i++) {
        CHECK(!touched(&stage, i));
    }
    stage_fini(&stage);
}

TEST(a_mover_ends_after_the_slice_that_it_is_in)
{
    for (unsigned slice = 0; slice < WINDOW_PAGES; slice++) {
        for (enum how how = BY_CALL; how < WAYS; how++) {
            end_in_slice(slice, how);
        }
    }
}

/* Stopping another fetch does not end the window that the mover has in its hand. */
TEST(a_mover_goes_on_when_another_fetch_is_stopped)
{
    struct stage stage;

    stage_init(&stage, 1);
    if (!watch_sink(&stage)) {
        test_skip("no userfaultfd here");
        stage_fini(&stage);
        return;
    }
    post(&stage, 0, 1);
    post(&stage, 1, 2);
    CHECK(stalled_page(&stage) == 0);
    transport_shm.stop(stage.link, 2);
    CHECK(stage.given_back == 1 && stage.windows[1].status == TRANSPORT_ABORTED);
    let_go(&stage, 0);
    for (unsigned i = 1; i < WINDOW_PAGES; i++) {
        CHECK(stalled_page(&stage) == i);
        let_go(&stage, i);
    }
    finish(&stage, 2);
    CHECK(stage.windows[0].status == TRANSPORT_OK);
    stage_fini(&stage);
}
