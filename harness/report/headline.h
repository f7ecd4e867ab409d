/* What is said first, of a run or of a comparison: the verdict in one sentence, then what is wrong,
 * the worst first; and what the columns mean, where they stand. Texts are plain, and the headline's
 * own: who prints them escapes them for where they go. */
#ifndef ATTEST_HEADLINE_H
#define ATTEST_HEADLINE_H

#include "compare.h"

/* Of a run: a kernel's rows of one status that fails, with the worst of them (the largest t_max,
 * else the first). Of a comparison: a pair that became worse. */
struct headline_item {
    char *kernel;
    char *what;   /* "12 of 40 rows FAIL_ACCURACY"; "slower by 12 % [10, 14]"; "PASS → CRASH" */
    char *line;   /* the problem of that row */
    char *reason; /* why it is not right; "" where only its time is worse */
    char *repeat; /* the command that repeats it; "" if the row knows none */
    int64_t rows; /* how many rows it stands for */
    int exit;     /* what they make the exit status of the program */
    double t_max; /* of that row; its ratio in a comparison */
};

struct headline {
    char verdict[512];
    bool well; /* there are no items */
    int64_t item_count;
    struct headline_item *items;
    /* what it is made of, of a run */
    int64_t rows, counts[STATUS_COUNT + 1]; /* by status; the last: of none that is known */
    int64_t computed, ungraded, grades['F' - 'A' + 1]; /* computed: an anchor's; of right rows */
    int64_t kernel_count;
    struct headline_kernel {
        const char *name; /* text_kept */
        int64_t judged;
        bool failed;
    } * kernels;
};

/* Row by row, those that no later one replaces; then what there is to say of them. */
bool headline_add(struct headline *headline, const struct row *row, struct fault *fault);
void headline_conclude(struct headline *headline, int64_t torn); /* lines; see struct run */
/* All of that. */
bool headline_of_run(struct headline *headline, const struct run *run, struct fault *fault);
bool headline_of_comparison(struct headline *headline, const struct comparison *comparison,
                            struct fault *fault);
void headline_free(struct headline *headline);

/* The verdict, then the first `most` items as a list and how many more there are. */
enum { HEADLINE_ITEMS = 10 };
void headline_print_markdown(FILE *to, const struct headline *headline, int64_t most);
void headline_print_item(FILE *to, const struct headline_item *item);

/* What stands in the columns of reports, in their order. */
struct legend {
    const char *column, *meaning; /* a line of plain text */
};
extern const struct legend accuracy_legend[], speed_legend[], compare_legend[]; /* end with NULL */
void legend_print_markdown(FILE *to, const struct legend *legend);

#endif
