/* Hosts of one kind beside each other: whether one of them is slower than its like, whatever
 * kernels it runs, by the control that is timed beside each row and by what probes measured. */
#ifndef ATTEST_HOSTS_H
#define ATTEST_HOSTS_H

#include "../record/record.h"

/* What a row ran on, as all of its kind are called: the name of the accelerator or, of a CPU, its
 * model and cores. text_kept. */
const char *host_kind(const struct machine *machine, const struct row *row);

struct host {                /* or one of its accelerators */
    const char *name, *kind; /* text_kept; "node3", "node3 cuda:1" */
    const char *uuid;        /* "": not known */
    /* Medians of the control and of what runs measured, and these over the median of the other
     * hosts of its kind; NaN: not known. */
    double control_us, read_bytes_s, flops;
    double control_ratio, read_ratio, flops_ratio;
    int64_t others;   /* hosts of its kind */
    char slower[128]; /* by what; "": it is not, or there is no other */
};
struct hosts {
    struct host *list;
    int64_t count, room;
    struct host_value *values; /* hosts_add's, until hosts_settle */
    int64_t value_count, value_room;
};

/* Which one it is counted with: its place in the list. */
int64_t hosts_add(struct hosts *hosts, const struct machine *machine, const struct row *row);
/* When all rows are added. Slower: by more than 3 %. */
void hosts_settle(struct hosts *hosts);
void hosts_free(struct hosts *hosts);

#endif
