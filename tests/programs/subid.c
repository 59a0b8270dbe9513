/* A service that sets ids aside, as libsubid of shadow loads one for `subid: lab` of nsswitch.conf:
 * uids and gids from 500000 on, ten of them, and for the user tess alone.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* libsubid/subid.h */
enum subid_type { ID_TYPE_UID = 1, ID_TYPE_GID = 2 };
enum subid_status { SUBID_STATUS_SUCCESS = 0, SUBID_STATUS_UNKNOWN_USER = 1 };
struct subid_range {
    unsigned long start, count;
};

static const unsigned long first = 500000, most = 10;

enum subid_status shadow_subid_has_range(const char *owner, unsigned long start, unsigned long count,
                                         enum subid_type type, bool *has) {
    *has = !strcmp(owner, "tess") && start >= first && start + count <= first + most;
    return SUBID_STATUS_SUCCESS;
}

enum subid_status shadow_subid_list_owner_ranges(const char *owner, enum subid_type type,
                                                 struct subid_range **ranges, int *count) {
    *count = 0;
    *ranges = NULL;
    if (strcmp(owner, "tess"))
        return SUBID_STATUS_UNKNOWN_USER;
    *ranges = malloc(sizeof **ranges);
    (*ranges)->start = first;
    (*ranges)->count = most;
    *count = 1;
    return SUBID_STATUS_SUCCESS;
}

enum subid_status shadow_subid_find_subid_owners(unsigned long id, enum subid_type type, uid_t **uids,
                                                 int *count) {
    *count = 0;
    *uids = NULL;
    return SUBID_STATUS_SUCCESS;
}

void shadow_subid_free(void *ranges) { free(ranges); }
