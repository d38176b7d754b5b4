/* SPDX-License-Identifier: Apache-2.0 */
/* The set of fingerprints that were seen: open addressing, 8 bytes each, within a bound of memory.
 */
#include "sim/explore_world.h"

#include <stdlib.h>

__extension__ typedef unsigned __int128 wide;

enum {
    SEEN_ROOM_MIN = 1 << 10,
};

bool explore_seen_init(struct seen *seen, uint64_t bytes_max)
{
    *seen = (struct seen){.room = SEEN_ROOM_MIN, .bytes_max = bytes_max};
    seen->keys = calloc(seen->room, sizeof(*seen->keys));
    return seen->keys != NULL;
}

void explore_seen_fini(struct seen *seen)
{
    free(seen->keys);
    seen->keys = NULL;
}

/* Where the key is, or belongs.  The room need not be a power of two. */
static uint64_t place(const uint64_t *keys, uint64_t room, uint64_t key)
{
    uint64_t at = (uint64_t)((wide)key * room >> 64);

    while (keys[at] && keys[at] != key) {
        at = at + 1 == room ? 0 : at + 1;
    }
    return at;
}

/* Twice the room, or what the bound leaves beside the present one. */
static bool grow(struct seen *seen)
{
    uint64_t room = seen->room * 2;
    uint64_t most = seen->bytes_max / sizeof(*seen->keys);
    uint64_t *keys;

    if (most < seen->room) {
        return false;
    }
    room = room > most - seen->room ? most - seen->room : room;
    if (room < seen->room + seen->room / 8) {
        return false;
    }
    keys = calloc(room, sizeof(*keys));
    if (!keys) {
        return false;
    }
    for (uint64_t i = 0; i < seen->room; i++) {
        if (seen->keys[i]) {
            keys[place(keys, room, seen->keys[i])] = seen->keys[i];
        }
    }
    free(seen->keys);
    seen->keys = keys;
    seen->room = room;
    return true;
}

enum seen_added explore_seen_add(struct seen *seen, uint64_t key)
{
    uint64_t at = place(seen->keys, seen->room, key);

    BATON_ASSERT(key != 0);
    if (seen->keys[at]) {
        return SEEN_KNOWN;
    }
    if (seen->count >= seen->room / 4 * 3) {
        if (!grow(seen) && seen->count >= seen->room / 16 * 15) {
            return SEEN_FULL;
        }
        at = place(seen->keys, seen->room, key);
    }
    seen->keys[at] = key;
    seen->count++;
    return SEEN_NEW;
}
