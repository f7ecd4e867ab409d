/* Reads past the end that do no harm yet, and writes that leave no trace. Once each input is moved
 * to end where a page does, the page behind it is taken away, and all inputs can only be read: what
 * goes there ends the process that did (worker/edges.h). The beginnings have their turn in the
 * launch with changed inputs (renew.c), which lie where a page begins. Guards and poison find what
 * changes memory or a result; this finds what changes neither, whatever the size, for the price of
 * a launch and of moving what does not end with a page already: few bytes, or a small part. */
#include "trial_inside.h"

#include <string.h>

bool trial_launch_edges(struct trial *trial) {
    const struct verdict *verdict = &trial->verdict;
    struct observation *seen = &trial->seen;
    trial->edges = trial->no_edges == NULL;
    const bool well = trial_launch(trial, false);
    const bool edges = trial->edges;
    trial->edges = false;
    if (well || !edges) return well;
    trial->beyond = true;
    if (verdict->status == STATUS_FAIL_OOB_READ) {
        snprintf(seen->read_where, sizeof seen->read_where, "%.127s", verdict->reason);
    } else if (verdict->status == STATUS_FAIL_INPUT_CHANGED) {
        snprintf(seen->input_where, sizeof seen->input_where, "%.127s", verdict->reason);
    } else if (verdict->status == STATUS_FAIL_OOB_WRITE) {
        trial_break_guard(trial, "%s", verdict->reason);
    } else {
        trial->beyond = false; /* it ended for a reason of its own */
    }
    return false;
}

/* Tells the worker where inputs are. */
static bool place(struct trial *trial, bool ends) {
    json_t *reply, *tensors = json_array();
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        if (trial->fixture->tensors[slot].data == NULL) continue;
        const int64_t offset = fixture_offset(trial->fixture, (enum attn_slot)slot);
        json_array_append_new(tensors,
                              json_pack("{s:s, s:I}", "slot", slot_name((enum attn_slot)slot),
                                        "offset", (json_int_t)offset));
    }
    json_t *request = json_pack("{s:s, s:o, s:b}", "op", "place", "tensors", tensors, "ends", ends);
    if (!trial_ask(trial, request, trial->options->watchdog_seconds, &reply)) return false;
    json_decref(reply);
    return true;
}

/* It is another where inputs lie elsewhere; once more where they lay says whether that is why. */
static bool explain(struct trial *trial) {
    if (!trial_call(trial)) return false;
    if (!trial_stands(trial)) {
        trial->seen.repeat_differed = true;
    } else if (trial_first_was_right(trial)) {
        snprintf(trial->kept, sizeof trial->kept, "inputs at other addresses");
    }
    return true;
}

bool trial_edges(struct trial *trial, enum poison poison) {
    if (trial->no_edges != NULL) return true;
    if (!trial_finish(trial)) return false;
    const bool moved = fixture_move_to_ends(trial->fixture, poison) || trial_lays_out(trial);
    bool well = (!moved || place(trial, true)) && trial_prepare(trial) &&
                trial_launch_edges(trial) && trial_finish(trial);
    if (!well && moved && trial->verdict.status == STATUS_CRASH)
        strncat(trial->verdict.reason, ", with inputs that begin at multiples of 16 bytes",
                sizeof trial->verdict.reason - strlen(trial->verdict.reason) - 1);
    fixture_move_back(trial->fixture, poison);
    well = well && (!moved || place(trial, false));
    return well && (trial_stands(trial) || explain(trial));
}
