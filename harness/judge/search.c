#include "search.h"
#include "../../oracle/bulk.h"

#include <stdlib.h>

/* Gauss and Newton, over all rows at once: the factor of the logits that comes nearest. */
bool search_scale(const struct course *rows, int64_t count, int64_t size, double *number) {
    enum { STEPS = 12, ELEMENTS = 1024 };
    const int64_t dim = rows[0].answer->value_dim;
    struct course_row room;
    double *slope = calloc((size_t)dim, sizeof *slope);
    (void)size;
    if (slope == NULL || !course_room(&room, rows[0].view)) {
        free(slope);
        return false;
    }
    if (count > ELEMENTS / dim + 1) count = ELEMENTS / dim + 1;
    bool well = true;
    *number = 1;
    for (int step = 0; well && step < STEPS; step++) {
        double down = 0, square = 0;
        for (int64_t n = 0; well && n < count; n++) {
            struct course course = rows[n];
            course.scale = *number;
            well = course_compute(&room, &course, 0, dim);
            if (!well) break;
            course_slope(&room, &course, slope);
            for (int64_t d = 0; d < dim; d++) {
                down += slope[d] * (course.got[d] - room.out[d]);
                square += slope[d] * slope[d];
            }
        }
        const double moved = *number + down / square;
        well = well && isfinite(moved);
        if (!well) break;
        const double before = *number;
        *number = fmin(fmax(moved, before / 2), before * 2);
        if (fabs(*number - before) < 1e-7 * before) break;
    }
    course_free(&room);
    free(slope);
    return well;
}

/* Where a tile that is left out (sign -1), counted twice (1), or has its values in the place of the
 * next one's (0) comes nearest to the worst row: from the sums of each tile, one pass over V. */
static bool nearest_tile(const struct course *row, int64_t size, int sign, double *number) {
    const int64_t dim = row->answer->value_dim,
                  tile = size > 0 ? size : row->view->problem->page_size;
    struct course_row room;
    struct course course = *row;
    double best = INFINITY;
    if (tile == 0 || course.end < 2 * tile || !course_room(&room, row->view)) return false;
    if (!course_compute(&room, &course, 0, dim)) {
        course_free(&room);
        return false;
    }
    double l = 0;
    for (int64_t n = 0; n < course.end; n++) l += room.e[n];
    for (int64_t from = 0; from + (sign == 0 ? 2 * tile : 1) <= course.end; from += tile) {
        double *sum = room.a, weight = 0, error2 = 0; /* a is not needed any more */
        const int64_t span = sign == 0 ? 2 * tile : tile;
        for (int64_t d = 0; d < dim; d++) sum[d] = 0;
        for (int64_t n = from; n < from + span && n < course.end; n++) {
            const int64_t t = course.list != NULL ? course.list[n] : n;
            const int64_t other = n < from + tile ? n + tile : n - tile;
            const double e = sign != 0 ? room.e[n] : room.e[other] - room.e[n];
            bulk_widen_kv(room.v, NULL, NULL, course.view, course.b, course.g, t, true, dim);
            weight += e;
            for (int64_t d = 0; d < dim; d++) sum[d] += e * room.v[d];
        }
        for (int64_t d = 0; d < dim; d++) {
            const double out = sign != 0 ? (room.out[d] * l + sign * sum[d]) / (l + sign * weight)
                                         : room.out[d] + sum[d] / l;
            error2 += (out - course.got[d]) * (out - course.got[d]);
        }
        if (!(error2 < best)) continue;
        best = error2;
        *number = (double)(from / tile);
    }
    course_free(&room);
    return best < INFINITY;
}

bool search_left_out(const struct course *rows, int64_t count, int64_t size, double *number) {
    (void)count;
    return nearest_tile(rows, size, -1, number);
}

bool search_twice(const struct course *rows, int64_t count, int64_t size, double *number) {
    (void)count;
    return nearest_tile(rows, size, 1, number);
}

bool search_swapped(const struct course *rows, int64_t count, int64_t size, double *number) {
    (void)count;
    return rows[0].list == NULL && nearest_tile(rows, size, 0, number);
}
