/* Runs are read one at a time, from the first to the last, and of what was gathered so far a later
 * row takes the place of an earlier one: memory for one run and for what is asked for, however many
 * runs there are. */
#include "history.h"
#include "compare.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool history_is_run(const char *path) {
    char inside[4096 + 16];
    struct stat status;
    if (stat(path, &status) != 0) return false;
    if (!S_ISDIR(status.st_mode))
        return strlen(path) > 6 && !strcmp(path + strlen(path) - 6, ".jsonl");
    snprintf(inside, sizeof inside, "%s/run.jsonl", path);
    return stat(inside, &status) == 0;
}

bool history_is_folder(const char *path) {
    struct stat status;
    return !history_is_run(path) && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool add_run(struct history *history, const char *path, struct fault *fault) {
    struct run_reader reader;
    if (!run_open(&reader, path, fault)) return false;
    if (history->count == history->room) {
        history->room = 2 * history->room + 64;
        history->runs = realloc(history->runs, (size_t)history->room * sizeof *history->runs);
        if (history->runs == NULL) abort();
    }
    history->runs[history->count++] =
        (struct history_run){.path = text_kept(path), .machine = reader.machine};
    run_close(&reader);
    return true;
}

static int run_order(const void *left, const void *right) {
    const struct history_run *a = left, *b = right;
    const int order = strcmp(a->machine.time, b->machine.time);
    return order != 0 ? order : strcmp(a->path, b->path);
}

bool history_add(struct history *history, const char *path, struct fault *fault) {
    const int64_t before = history->count;
    if (!history_is_folder(path)) {
        if (!add_run(history, path, fault)) return false;
    } else {
        DIR *folder = opendir(path);
        if (folder == NULL)
            return fault_set(fault, FAULT_INPUT, "cannot open '%.900s': %s", path, strerror(errno));
        for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
            char inside[4096 + 300];
            struct fault unread;
            snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
            if (entry->d_name[0] == '.' || !history_is_run(inside)) continue;
            if (!add_run(history, inside, &unread)) fault_say("%s; left out", unread.text);
        }
        closedir(folder);
    }
    if (history->count == before)
        return fault_set(fault, FAULT_INPUT, "'%.900s' is no run and holds none", path);
    qsort(history->runs, (size_t)history->count, sizeof *history->runs, run_order);
    return true;
}

void history_free(struct history *history) {
    free(history->runs);
    *history = (struct history){0};
}

/* The last of each */

struct last {
    struct row row;
    const struct machine *machine;
    int64_t order; /* of all rows */
};
struct gathering {
    const struct run *after;
    const struct row_set *wanted; /* its rows */
    const char *kernels;          /* as history_before's */
    struct last *list;            /* by line and kernel, the last behind */
    int64_t count, room, seen;
};

/* Whether a row of the new run could be compared with it. */
static bool is_wanted(const struct gathering *gathering, const struct row *row,
                      const struct machine *machine) {
    int64_t count;
    char difference[512];
    const struct row_place *others = row_set_find(gathering->wanted, row, &count);
    for (int64_t n = 0; n < count; n++) {
        const bool is_kernel = gathering->kernels != NULL
                                   ? kernel_matches(row->kernel, gathering->kernels)
                                   : strcmp(row->kernel, others[n].row->kernel) == 0;
        if (is_kernel && rows_share_inputs(others[n].row, row) &&
            rows_alike(machine, row, &gathering->after->machine, others[n].row, difference))
            return true;
    }
    return false;
}

static bool add_row(struct gathering *gathering, const struct row *row,
                    const struct machine *machine, struct fault *fault) {
    if (gathering->count == gathering->room) {
        gathering->room = 2 * gathering->room + 64;
        struct last *more =
            realloc(gathering->list, (size_t)gathering->room * sizeof *gathering->list);
        if (more == NULL) {
            fault_set(fault, FAULT_OURS, "out of memory for earlier rows");
            return false;
        }
        gathering->list = more;
    }
    gathering->list[gathering->count++] = (struct last){*row, machine, gathering->seen++};
    return true;
}

static int last_order(const void *left, const void *right) {
    const struct last *a = left, *b = right;
    int order = strcmp(a->row.line, b->row.line);
    if (order == 0) order = strcmp(a->row.kernel, b->row.kernel);
    return order != 0 ? order : (a->order > b->order) - (a->order < b->order);
}

static bool is_one(const struct row *a, const struct row *b) {
    return strcmp(a->line, b->line) == 0 && strcmp(a->kernel, b->kernel) == 0 &&
           rows_share_inputs(a, b);
}

/* What only checked says nothing of time. */
static bool takes_the_place(const struct row *later, const struct row *earlier) {
    return row_is_timed(later) || !row_is_right(later) || !row_is_timed(earlier);
}

static void keep_the_last(struct gathering *gathering) {
    struct last *list = gathering->list;
    int64_t kept = 0;
    if (gathering->count == 0) return;
    qsort(list, (size_t)gathering->count, sizeof *list, last_order);
    for (int64_t n = 0; n < gathering->count; n++) {
        struct last *earlier = kept > 0 ? &list[kept - 1] : NULL;
        if (earlier == NULL || !is_one(&earlier->row, &list[n].row))
            list[kept++] = list[n];
        else if (takes_the_place(&list[n].row, &earlier->row))
            *earlier = list[n];
    }
    gathering->count = kept;
}

static bool gather(struct gathering *gathering, const struct history_run *from,
                   struct fault *fault) {
    struct run run;
    if (!run_read(&run, from->path, fault)) return false;
    bool well = true;
    for (int64_t n = 0; well && n < run.count; n++) {
        if (is_wanted(gathering, &run.rows[n], &from->machine))
            well = add_row(gathering, &run.rows[n], &from->machine, fault);
    }
    run_free(&run);
    if (well) keep_the_last(gathering);
    return well;
}

bool history_before(struct run *before, const struct history *history, const struct run *after,
                    const char *kernels, struct fault *fault) {
    struct row_set wanted;
    *before = (struct run){.machine = after->machine};
    if (!row_set_make(&wanted, after, fault)) return false;
    struct gathering gathering = {.after = after, .wanted = &wanted, .kernels = kernels};
    bool well = true;
    for (int64_t n = 0; well && n < history->count; n++) {
        if (strcmp(history->runs[n].machine.time, after->machine.time) < 0)
            well = gather(&gathering, &history->runs[n], fault);
    }
    const size_t count = (size_t)gathering.count + 1;
    before->rows = well ? calloc(count, sizeof *before->rows) : NULL;
    before->machines = well ? calloc(count, sizeof(const struct machine *)) : NULL;
    if (well && (before->rows == NULL || before->machines == NULL)) {
        fault_set(fault, FAULT_OURS, "out of memory for earlier rows");
        well = false;
    }
    for (int64_t n = 0; well && n < gathering.count; n++) {
        before->rows[n] = gathering.list[n].row;
        before->machines[n] = gathering.list[n].machine;
        before->count++;
    }
    if (!well) run_free(before);
    free(gathering.list);
    row_set_free(&wanted);
    return well;
}
