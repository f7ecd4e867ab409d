/* Where rows are to run, as --device and `attest list devices` name it: cpu, cuda (the first one),
 * cuda:1, cuda:all. */
#ifndef ATTEST_TARGETS_H
#define ATTEST_TARGETS_H

#include "../record/record.h"

enum { TARGET_ALL = -1, TARGETS_MAX = 1 + MACHINE_DEVICES_MAX };
struct target {
    enum attn_device kind;
    int64_t index; /* 0 of a CPU; TARGET_ALL until targets_resolve */
};
struct targets {
    struct target list[TARGETS_MAX];
    int64_t count;
};

enum { TARGET_NAME_BYTES = 32 };
void target_name(const struct target *target, char name[TARGET_NAME_BYTES]);
/* Adds one, unless it is there. */
bool targets_add(struct targets *targets, struct target target, struct fault *fault);
/* Adds those of a list joined by commas. */
bool targets_parse(struct targets *targets, const char *text, struct fault *fault);
/* Replaces TARGET_ALL by what there is; `found` are the accelerators of this machine, of every kind
 * that a target is of. FAULT_INPUT when one is not there, FAULT_NOTHING when all are none. */
bool targets_resolve(struct targets *targets, const struct machine_device *found, int64_t count,
                     struct fault *fault);
bool targets_have(const struct targets *targets, enum attn_device kind);

#endif
