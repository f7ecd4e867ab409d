/* Names of devices. What kinds there can be is driver.c's table; what there is, the caller's. */
#include "targets.h"
#include "../worker/driver.h"
#include "../worker/protocol.h"
#include "../../oracle/nearest.h"

#include <stdlib.h>
#include <string.h>

/* Whether there can be several. */
static bool is_numbered(enum attn_device kind) {
    return driver_of(kind)->library != NULL;
}

void target_name(const struct target *target, char name[TARGET_NAME_BYTES]) {
    const char *kind = device_name(target->kind);
    if (!is_numbered(target->kind))
        snprintf(name, TARGET_NAME_BYTES, "%s", kind);
    else if (target->index == TARGET_ALL)
        snprintf(name, TARGET_NAME_BYTES, "%s:all", kind);
    else
        snprintf(name, TARGET_NAME_BYTES, "%s:%lld", kind, (long long)target->index);
}

bool targets_add(struct targets *targets, struct target target, struct fault *fault) {
    for (int64_t n = 0; n < targets->count; n++) {
        if (targets->list[n].kind == target.kind && targets->list[n].index == target.index)
            return true;
    }
    if (targets->count == TARGETS_MAX)
        return fault_set(fault, FAULT_INPUT, "more than %d devices for one run", TARGETS_MAX);
    targets->list[targets->count++] = target;
    return true;
}

static const struct driver *driver_named(const char *name, size_t length) {
    for (const struct driver *driver = drivers; driver->meaning != NULL; driver++) {
        const char *known = device_name(driver->device);
        if (strlen(known) == length && !strncmp(known, name, length)) return driver;
    }
    return NULL;
}

/* " cpu, cuda, cuda:N, cuda:all": what could have been meant. */
static void print_kinds(char *text, size_t bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (const struct driver *driver = drivers; driver->meaning != NULL && used < bytes; driver++) {
        const char *name = device_name(driver->device);
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", used > 0 ? ", " : "", name);
        if (driver->library != NULL && used < bytes)
            used += (size_t)snprintf(text + used, bytes - used, ", %s:N, %s:all", name, name);
    }
}

static bool refuse_word(const char *word, size_t length, struct fault *fault) {
    const char *names[TARGETS_MAX];
    size_t count = 0;
    char kinds[256], stem[TARGET_NAME_BYTES], meant[64] = "";
    print_kinds(kinds, sizeof kinds);
    for (const struct driver *driver = drivers; driver->meaning != NULL; driver++)
        names[count++] = device_name(driver->device);
    snprintf(stem, sizeof stem, "%.*s", (int)strcspn(word, ":,"), word);
    const char *near = nearest(stem, names, count);
    if (near != NULL && strcmp(near, stem) != 0)
        snprintf(meant, sizeof meant, "; did you mean '%s%.*s'?", near,
                 (int)(length - strcspn(word, ":,")), word + strcspn(word, ":,"));
    return fault_set(fault, FAULT_INPUT, "'%.*s' is no device: expected %s%s", (int)length, word,
                     kinds, meant);
}

static bool parse_word(struct target *target, const char *word, size_t length) {
    const size_t stem = strcspn(word, ":,");
    const struct driver *driver = driver_named(word, stem);
    if (driver == NULL) return false;
    *target = (struct target){.kind = driver->device};
    if (stem == length) return true;
    const char *number = word + stem + 1;
    const size_t digits = length - stem - 1;
    if (driver->library == NULL) return false;
    if (digits == 3 && !strncmp(number, "all", 3)) {
        target->index = TARGET_ALL;
        return true;
    }
    target->index = strtoll(number, NULL, 10);
    return digits > 0 && digits < 10 && strspn(number, "0123456789") == digits;
}

bool targets_parse(struct targets *targets, const char *text, struct fault *fault) {
    for (const char *word = text;; word++) {
        const size_t length = strcspn(word, ",");
        struct target target;
        if (!parse_word(&target, word, length)) return refuse_word(word, length, fault);
        if (!targets_add(targets, target, fault)) return false;
        word += length;
        if (*word == '\0') return true;
    }
}

/* What --device could have named. */
static void print_found(char *text, size_t bytes, const struct machine_device *found,
                        int64_t count) {
    size_t used = (size_t)snprintf(text, bytes, "%s", device_name(ATTN_CPU));
    for (int64_t n = 0; n < count && used < bytes; n++)
        used += (size_t)snprintf(text + used, bytes - used, ", %s:%lld", found[n].device,
                                 (long long)found[n].index);
}

static bool resolve(struct targets *resolved, const struct target *target,
                    const struct machine_device *found, int64_t count, struct fault *fault) {
    bool there = !is_numbered(target->kind);
    if (there) return targets_add(resolved, *target, fault);
    for (int64_t n = 0; n < count; n++) {
        if (strcmp(found[n].device, device_name(target->kind)) != 0 ||
            (target->index != TARGET_ALL && target->index != found[n].index))
            continue;
        const struct target one = {.kind = target->kind, .index = found[n].index};
        if (!targets_add(resolved, one, fault)) return false;
        there = true;
    }
    if (there) return true;
    char name[TARGET_NAME_BYTES], here[512];
    target_name(target, name);
    print_found(here, sizeof here, found, count);
    return fault_set(fault, target->index == TARGET_ALL ? FAULT_NOTHING : FAULT_INPUT,
                     "there is no device %s; here is %s", name, here);
}

bool targets_resolve(struct targets *targets, const struct machine_device *found, int64_t count,
                     struct fault *fault) {
    struct targets resolved = {.count = 0};
    for (int64_t n = 0; n < targets->count; n++) {
        if (!resolve(&resolved, &targets->list[n], found, count, fault)) return false;
    }
    *targets = resolved;
    return true;
}

bool targets_have(const struct targets *targets, enum attn_device kind) {
    for (int64_t n = 0; n < targets->count; n++) {
        if (targets->list[n].kind == kind) return true;
    }
    return false;
}
