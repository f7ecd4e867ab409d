/* One pass in reading order. */
#include "overview.h"
#include "print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const left_out_names[LEFT_OUT] = {"values", "signs", "keys", "pages", "batch", "none"};

static struct tally *tally_of(struct overview *overview, const char *kernel) {
    for (int64_t n = 0; n < overview->tally_count; n++)
        if (overview->tallies[n].kernel == kernel) return &overview->tallies[n];
    const size_t bytes = (size_t)(overview->tally_count + 1) * sizeof *overview->tallies;
    struct tally *tallies = realloc(overview->tallies, bytes);
    if (tallies == NULL) return NULL;
    overview->tallies = tallies;
    tallies[overview->tally_count] =
        (struct tally){.kernel = kernel, .grade = '-', .t_max = NAN, .rho_block = NAN};
    return &tallies[overview->tally_count++];
}

static void tally_add(struct tally *tally, const struct row *row, double gain) {
    if (row_is_refused(row)) {
        tally->refused++;
        return;
    }
    if (row_is_failure(row))
        tally->failed++;
    else
        tally->right++;
    if (row->grade[0] >= 'A' && row->grade[0] > tally->grade) tally->grade = row->grade[0];
    if (row->deviation.elements > 0) {
        tally->t_max = fmax(tally->t_max, row->deviation.t_max);
        tally->rho_block = fmax(tally->rho_block, row->deviation.rho_block);
    }
    if (isfinite(gain) && gain > 0) {
        tally->log_sum += log(gain);
        tally->log_count++;
    }
}

/* The places of "; not NAME (WHY)" in a row's checks. */
static void add_left_out(struct overview *overview, const struct row *row) {
    for (int n = 0; n < LEFT_OUT; n++) {
        char sought[16], *why = overview->left_out[n].why;
        const size_t room = sizeof overview->left_out[n].why;
        snprintf(sought, sizeof sought, "%s (", left_out_names[n]);
        const char *found = strstr(row->checks, sought);
        if (found == NULL) continue;
        found += strlen(sought);
        if (overview->left_out[n].rows++ == 0)
            snprintf(why, room, "%.*s", (int)strcspn(found, ")"), found);
        if (strncmp(found, why, strlen(why)) != 0 && strstr(why, ", ...") == NULL)
            strncat(why, ", ...", room - strlen(why) - 1);
    }
}

static int tally_order(const void *left, const void *right) {
    const struct tally *a = left, *b = right;
    return strcmp(a->kernel, b->kernel);
}

bool overview_make(struct overview *overview, struct row_index *index, struct fault *fault) {
    struct row row;
    *overview = (struct overview){0};
    for (int64_t n = 0; n < index->count; n++) {
        struct indexed_row *at = row_index_at(index, n);
        if (!row_index_read(index, n, &row, fault) ||
            !headline_add(&overview->headline, &row, fault))
            return false;
        struct tally *tally = tally_of(overview, at->kernel);
        if (tally == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the report");
        tally_add(tally, &row, row_index_speedup(index, at, at->baseline));
        add_left_out(overview, &row);
        at->warned = row.bias_warning != 0 || status_of(&row) == STATUS_UNSTABLE;
    }
    headline_conclude(&overview->headline, index->reader.torn);
    if (overview->tally_count > 0)
        qsort(overview->tallies, (size_t)overview->tally_count, sizeof *overview->tallies,
              tally_order);
    return true;
}

void overview_free(struct overview *overview) {
    headline_free(&overview->headline);
    free(overview->tallies);
}

void tallies_print_titles(FILE *to, const char *baseline) {
    print_markdown(to,
                   "| kernel | right | failed | refused | worst grade | worst block rho | worst "
                   "t_max | speed-up over `%s` |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
                   baseline);
}

void tally_print(FILE *to, const struct tally *tally) {
    print_markdown(to, "| %s | %lld | %lld | %lld | %c | %s | %s | ", tally->kernel,
                   (long long)tally->right, (long long)tally->failed, (long long)tally->refused,
                   tally->grade, number_plain(tally->rho_block).text,
                   number_plain(tally->t_max).text);
    if (tally->log_count > 0)
        print_markdown(to, "%sx |\n",
                       number_plain(exp(tally->log_sum / (double)tally->log_count)).text);
    else
        fputs("– |\n", to);
}
