/* The pictures of a report: which points each has. Each function fills an empty plot and says
 * whether there is anything to show; the plot may keep pointers into what it is made of. */
#ifndef ATTEST_PICTURES_H
#define ATTEST_PICTURES_H

#include "compare.h"
#include "plot.h"
#include "view.h"
#include "../record/samples.h"

/* Rows of one variant, in reading order: kernels over problems, each cell coloured by status and,
 * where it was timed, by the share of a ceiling. Of more problems than there is room for, some
 * share a column, which shows the worst. */
struct matrix {
    int64_t kernel_count, problem_count;
    const char **kernels;
    const struct row **cells; /* [problem_count * kernel_count]; NULL: not run */
};
void matrix_make(struct matrix *matrix, const struct shown *shown, int64_t count);
void matrix_free(struct matrix *matrix);
bool picture_matrix(struct plot *plot, const char *variant, const struct matrix *matrix);
/* The colours of a matrix, for its key: NULL name at the end. */
struct picture_colour {
    const char *name;
    uint32_t colour;
};
extern const struct picture_colour picture_colours[];

/* All timed rows of a device below its measured ceilings. */
bool picture_roofline(struct plot *plot, const struct view *view, const struct machine *machine,
                      const char *device, int64_t index);
/* Time over the number of keys: of problems that differ in length alone, where there are such. */
bool picture_length(struct plot *plot, const char *title, const struct shown *shown, int64_t count);
/* For each kernel of a variant how much time it takes beside the fastest, and its rho. */
bool picture_pareto(struct plot *plot, const char *variant, const struct shown *shown,
                    int64_t count);
/* Of a sparse variant: the share of softmax mass that is kept, and the speed-up over the dense
 * kernel with a mask. */
bool picture_mass(struct plot *plot, const char *variant, const struct shown *shown, int64_t count);
/* Errors in ulp, of all rows of one problem, or of `kernel` (NULL: all) and the anchors. */
bool picture_ulp(struct plot *plot, const struct shown *shown, int64_t count, const char *kernel);
/* The timings of a row, one by one, with the GPU's clock. */
bool picture_strip(struct plot *plot, const struct row *row, const struct samples *samples);
/* The errors of a failing row's worst block, over what they may be. */
bool picture_heat(struct plot *plot, const struct row *row, const struct samples *samples);
/* The ratios of a variant with their intervals; those furthest from 1 where there are too many. */
bool picture_forest(struct plot *plot, const char *variant, const struct comparison *comparison);

#endif
