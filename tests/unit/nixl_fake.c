/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library with the names of NIXL's, for nixl_api_test.c; it moves nothing.  Built several times:
 * IS_STUB, whether it calls itself a stub; LACKS, without one function; DESTROYED, what
 * destroy_agent(NULL) returns.
 */
#include <stdbool.h>
#include <stddef.h>

#ifndef IS_STUB
#define IS_STUB false
#endif
#ifndef DESTROYED
#define DESTROYED (-1)
#endif

/* Never called. */
#define UNUSED(name)                                                                               \
    int nixl_capi_##name(void);                                                                    \
    int nixl_capi_##name(void)                                                                     \
    {                                                                                              \
        return 0;                                                                                  \
    }

static bool flag;
static size_t count;

bool nixl_capi_is_stub(void);
int nixl_capi_destroy_agent(void *agent);
int nixl_capi_create_opt_args(void **ret_hints);
int nixl_capi_opt_args_set_has_notif(void *hints, bool has);
int nixl_capi_opt_args_get_has_notif(void *hints, bool *ret_has);
int nixl_capi_create_xfer_dlist(int memory, void **ret_spans);
int nixl_capi_xfer_dlist_desc_count(void *spans, size_t *ret_count);

bool nixl_capi_is_stub(void)
{
    return IS_STUB;
}

int nixl_capi_destroy_agent(void *agent)
{
    return agent ? 0 : DESTROYED;
}

int nixl_capi_create_opt_args(void **ret_hints)
{
    *ret_hints = &flag;
    return 0;
}

int nixl_capi_opt_args_set_has_notif(void *hints, bool has)
{
    *(bool *)hints = has;
    return 0;
}

int nixl_capi_opt_args_get_has_notif(void *hints, bool *ret_has)
{
    *ret_has = *(bool *)hints;
    return 0;
}

int nixl_capi_create_xfer_dlist(int memory, void **ret_spans)
{
    (void)memory;
    count = 1;
    *ret_spans = &count;
    return 0;
}

int nixl_capi_xfer_dlist_desc_count(void *spans, size_t *ret_count)
{
    *ret_count = *(size_t *)spans;
    return 0;
}

UNUSED(agent_make_connection)
UNUSED(check_remote_md)
UNUSED(create_backend)
UNUSED(create_configured_agent)
UNUSED(create_notif_map)
UNUSED(create_params)
UNUSED(create_reg_dlist)
UNUSED(deregister_mem)
UNUSED(destroy_backend)
UNUSED(destroy_notif_map)
UNUSED(destroy_opt_args)
UNUSED(destroy_params)
UNUSED(destroy_reg_dlist)
UNUSED(destroy_xfer_dlist)
UNUSED(destroy_xfer_req)
UNUSED(gen_notif)
UNUSED(get_local_md)
UNUSED(get_notifs)
UNUSED(get_xfer_status)
UNUSED(invalidate_remote_md)
UNUSED(load_remote_md)
UNUSED(make_xfer_req)
UNUSED(notif_map_clear)
UNUSED(notif_map_get_agent_at)
UNUSED(notif_map_get_notif)
UNUSED(notif_map_get_notifs_size)
UNUSED(notif_map_size)
UNUSED(opt_args_add_backend)
UNUSED(opt_args_set_notif_msg)
UNUSED(opt_args_set_skip_desc_merge)
UNUSED(params_add)
UNUSED(post_xfer_req)
UNUSED(prep_xfer_dlist)
UNUSED(reg_dlist_add_desc)
UNUSED(register_mem)
UNUSED(release_xfer_dlist_handle)
#ifndef LACKS
UNUSED(release_xfer_req)
#endif
UNUSED(xfer_dlist_add_desc)
