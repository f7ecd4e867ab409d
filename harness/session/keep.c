/* Rows, appended one at a time. */
#include "keep.h"
#include "again.h"

#include <string.h>

static bool append(struct session *session, const struct row *row, const struct samples *samples,
                   bool first, struct fault *fault) {
    struct board *board = session->board;
    const int exit_status = status_exit(status_of(row));
    if (!samples_write(session->writer.folder, row, samples, fault)) return false;
    crew_lock(&board->writing);
    const bool kept = writer_append(&session->writer, row, fault);
    if (kept && exit_status > board->exit_status) board->exit_status = exit_status;
    if (kept && first) board->judged += row_is_judged(row);
    crew_unlock(&board->writing);
    return kept;
}

bool keep_row(struct session *session, const struct row *row, const struct samples *samples,
              struct fault *fault) {
    if (!append(session, row, samples, true, fault)) return false;
    show_row(&session->board->show, row, !again_wants(session, row));
    return true;
}

bool keep_again(struct session *session, const struct row *row, const struct row *before,
                const struct samples *samples, struct fault *fault) {
    if (!append(session, row, samples, false, fault)) return false;
    show_again(&session->board->show, row, before, !again_wants(session, row));
    return true;
}

static const struct mark *mark_of(const struct session *session, const struct item *item) {
    return &session->board->marks[item - session->items];
}

bool keep_lost(struct session *session, const struct plugin *kernel, const struct item *item,
               const struct trial_options *trial, enum status status, const char *reason,
               struct fault *fault) {
    struct row row;
    struct fixture known = {.problem = item->problem};
    snprintf(known.line, sizeof known.line, "%s", item->line);
    if (item->file != NULL)
        snprintf(known.digest, sizeof known.digest, "%s", mark_of(session, item)->digest);
    trial_lose(&row, kernel, &known, trial, status, "%s", reason);
    return keep_row(session, &row, &(struct samples){0}, fault);
}

bool keep_has(const struct session *session, const struct plugin *kernel, const struct item *item) {
    struct run run;
    struct fault fault;
    if (!run_read(&run, session->writer.folder, &fault)) return false;
    const struct session written = {.done = run};
    const bool has = session_has(&written, kernel, item,
                                 item->file != NULL ? mark_of(session, item)->digest : "");
    run_free(&run);
    return has;
}
