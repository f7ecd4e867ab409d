/* The list, which is kept in parts, and those hypotheses whose number is found. */
#include "hypothesis.h"
#include "search.h"

static bool zero(struct course *course) {
    course->out_scale = 0;
    return true;
}

static bool scaled(struct course *course) {
    course->scale = course->number;
    course->said[0] = course->number;
    return fabs(course->number - 1) >= 5e-4; /* less is within what rounding does */
}

/* A factor of the row's own. One that is nearly 1 is what cutting off instead of rounding does. */
static bool factor(struct course *course) {
    const int64_t dim = course->answer->value_dim;
    const double *o = course->answer->out + ((course->b * course->answer->q_heads + course->h) *
                                                 course->answer->row_count +
                                             course->row) *
                                                dim;
    double product = 0, square = 0;
    for (int64_t d = 0; d < dim; d++) {
        product += o[d] * course->got[d];
        square += o[d] * o[d];
    }
    course->out_scale = course->said[0] = product / square;
    return dim >= 8 && isfinite(course->out_scale) && course->out_scale != 0 &&
           fabs(course->out_scale - 1) > 4 * roundoff_of_out(course->view->problem);
}

/* Keys of a tile */

static bool tile_left_out(struct course *course) {
    course->skip = (int64_t)course->number * course->size;
    course->skip_end = course->skip + course->size;
    course->said[0] = (double)course->skip;
    course->said[1] = (double)(course->skip_end - 1);
    return course->end > course->size;
}

static bool tile_twice(struct course *course) {
    course->again = (int64_t)course->number * course->size;
    course->again_end = course->again + course->size;
    course->said[0] = (double)course->again;
    course->said[1] = (double)(course->again_end - 1);
    return true;
}

static const struct hypothesis hypotheses_of_nothing[] = {
    {"it wrote zeros", OF_OUT, 0, NULL, NULL, zero},
    {NULL, 0, 0, NULL, NULL, NULL},
};

/* A number that is found fits more than it explains: these come last. */
static const struct hypothesis hypotheses_found[] = {
    {"keys %1$.0f to %2$.0f were left out", OF_OUT, 128, NULL, search_left_out, tile_left_out},
    {"keys %1$.0f to %2$.0f were left out", OF_OUT, 64, NULL, search_left_out, tile_left_out},
    {"keys %1$.0f to %2$.0f were left out", OF_OUT, 32, NULL, search_left_out, tile_left_out},
    {"keys %1$.0f to %2$.0f were left out", OF_OUT, 16, NULL, search_left_out, tile_left_out},
    {"key %1$.0f were left out", OF_OUT, 1, NULL, search_left_out, tile_left_out},
    {"keys %1$.0f to %2$.0f were counted twice", OF_OUT, 128, NULL, search_twice, tile_twice},
    {"keys %1$.0f to %2$.0f were counted twice", OF_OUT, 64, NULL, search_twice, tile_twice},
    {"keys %1$.0f to %2$.0f were counted twice", OF_OUT, 32, NULL, search_twice, tile_twice},
    {"keys %1$.0f to %2$.0f were counted twice", OF_OUT, 16, NULL, search_twice, tile_twice},
    {"key %1$.0f were counted twice", OF_OUT, 1, NULL, search_twice, tile_twice},
    {"logits were %1$.5g times what they are", OF_OUT, 0, NULL, search_scale, scaled},
    {"the sum of the weights were off: a row is the answer times a number, %1$.5g in the worst",
     OF_OUT, 0, NULL, NULL, factor},
    {NULL, 0, 0, NULL, NULL, NULL},
};

const struct hypothesis *hypothesis_at(int64_t at) {
    static const struct hypothesis *const parts[] = {hypotheses_of_nothing, hypotheses_of_keys,
                                                     hypotheses_of_weights, hypotheses_of_kv8,
                                                     hypotheses_found};
    for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) {
        for (const struct hypothesis *one = parts[part]; one->words != NULL; one++) {
            if (at-- == 0) return one;
        }
    }
    return NULL;
}
