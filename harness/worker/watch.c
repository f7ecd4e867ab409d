#include "watch.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t all_bytes(const struct watch *watch) {
    return watch->out_bytes + watch->lse_bytes;
}

static size_t width_of(const struct watch *watch) {
    return attn_dtype_bytes(watch->dtype);
}

static size_t image_bytes(const struct view *view) {
    return view != NULL ? span_bytes(&view->laid) : 0;
}

static void fetch_one(const struct watch *watch, unsigned char *to, const unsigned char *from,
                      size_t bytes, const struct view *view) {
    if (view == NULL) {
        watch->device->download(to, from, bytes);
        return;
    }
    watch->device->download(watch->image, from, image_bytes(view));
    view_gather(view, to, watch->image);
}

static void fetch(const struct watch *watch, unsigned char *to) {
    fetch_one(watch, to, watch->out, watch->out_bytes, watch->out_view);
    if (watch->lse != NULL)
        fetch_one(watch, to + watch->out_bytes, watch->lse, watch->lse_bytes, watch->lse_view);
}

static void fill(unsigned char *to, size_t bytes, uint32_t word, size_t width) {
    for (size_t at = 0; at < bytes; at += width) memcpy(to + at, &word, width);
}

bool watch_begin(struct watch *watch, uint32_t unwritten, uint32_t unwritten_lse) {
    const size_t bytes = all_bytes(watch) + 1;
    const size_t out_image = image_bytes(watch->out_view), lse_image = image_bytes(watch->lse_view);
    if (watch->out_view != NULL) watch->here = false;
    watch->expected = calloc(bytes, 1); /* what is packed away is nowhere */
    watch->blank = malloc(bytes);
    watch->furthest = malloc(bytes);
    watch->fetched = calloc(watch->here ? 1 : bytes, 1);
    watch->image = malloc((out_image > lse_image ? out_image : lse_image) + 1);
    if (watch->expected == NULL || watch->blank == NULL || watch->furthest == NULL ||
        watch->fetched == NULL || watch->image == NULL)
        return false;
    fetch(watch, watch->expected);
    fill(watch->blank, watch->out_bytes, unwritten, width_of(watch));
    fill(watch->blank + watch->out_bytes, watch->lse_bytes, unwritten_lse, sizeof(float));
    return true;
}

void watch_end(struct watch *watch) {
    free(watch->expected);
    free(watch->blank);
    free(watch->furthest);
    free(watch->image);
    free(watch->fetched);
    *watch = (struct watch){0};
}

void watch_aim(struct watch *watch, const struct attn_call *call) {
    watch->out = call->tensors[ATTN_OUT].data;
    if (watch->lse != NULL) watch->lse = call->tensors[ATTN_LSE].data;
}

/* On the device where it can do that: a large output takes milliseconds to be brought there, in
 * which a GPU cools. */
static void fill_output(const struct watch *watch, unsigned char *to, const unsigned char *blank,
                        size_t bytes, size_t width, const struct view *view) {
    if (view != NULL) { /* with what is between rows as it is */
        watch->device->download(watch->image, to, image_bytes(view));
        view_scatter(view, watch->image, blank);
        watch->device->upload(to, watch->image, image_bytes(view));
        return;
    }
    struct device_move move = {.to = to, .width = bytes, .rows = 1, .word_bytes = (int)width};
    uint32_t word;
    if (watch->device->move == NULL || bytes == 0) {
        watch->device->upload(to, blank, bytes);
        return;
    }
    memcpy(&move.word, blank, width);
    watch->device->move(&move);
    /* Waited for: a launch that comes next finds an idle device, on whatever stream it is. */
    watch->device->download(&word, to, width);
}

void watch_fill(struct watch *watch, double elapsed_s) {
    if (watch->expected == NULL) return;
    watch->due = watch->here || watch->spent_s <= elapsed_s / 2;
    if (!watch->due) return;
    const double start = clock_s();
    fill_output(watch, watch->out, watch->blank, watch->out_bytes, width_of(watch),
                watch->out_view);
    if (watch->lse != NULL)
        fill_output(watch, watch->lse, watch->blank + watch->out_bytes, watch->lse_bytes,
                    sizeof(float), watch->lse_view);
    watch->spent_s += clock_s() - start;
}

static double number(int32_t dtype, const unsigned char *at) {
    uint16_t code;
    float x;
    if (dtype == ATTN_E4M3) return attn_e4m3_to_f32(*at);
    memcpy(&code, at, sizeof code);
    if (dtype == ATTN_F16) return attn_f16_to_f32(code);
    if (dtype == ATTN_BF16) return attn_bf16_to_f32(code);
    memcpy(&x, at, sizeof x);
    return x;
}

/* Without what is no difference: the sign of a zero, and which NaN it is, if it was written. */
static bool elements_equal(const unsigned char *got, const unsigned char *expected,
                           const unsigned char *blank, int32_t dtype, size_t bytes) {
    const size_t width = attn_dtype_bytes(dtype);
    for (size_t at = 0; at < bytes; at += width) {
        if (memcmp(got + at, expected + at, width) == 0) continue;
        const double x = number(dtype, got + at), y = number(dtype, expected + at);
        const bool written = memcmp(got + at, blank, width) != 0;
        if (!(x == 0 && y == 0) && !(isnan(x) && isnan(y) && written)) return false;
    }
    return true;
}

/* The part of a tensor of rows of so many elements that counts, a sequence and head at a time. */
static bool rows_equal(const struct watch *watch, const unsigned char *got,
                       const unsigned char *expected, const unsigned char *blank, int32_t dtype,
                       int64_t row_elements) {
    const struct attn_problem *problem = watch->problem;
    const size_t row_bytes = (size_t)row_elements * attn_dtype_bytes(dtype);
    const size_t step = (size_t)problem->q_len * row_bytes;
    for (int64_t n = 0; n < problem->batch * problem->q_heads; n++) {
        const size_t at = (size_t)n * step;
        const size_t bytes = (size_t)watch->q_lens[n / problem->q_heads] * row_bytes;
        if (memcmp(got + at, expected + at, bytes) != 0 &&
            !elements_equal(got + at, expected + at, blank, dtype, bytes))
            return false;
    }
    return true;
}

static void negate(unsigned char *element, size_t width) {
    element[width - 1] ^= 0x80; /* little-endian, as all machines here are */
}

void watch_expect(struct watch *watch, const struct turn_slice *slice) {
    const struct attn_problem *problem = watch->problem;
    const int64_t dim = problem->value_dim, heads = problem->q_heads / problem->kv_heads;
    const size_t width = width_of(watch);
    for (int64_t b = slice->b0; b < slice->b1; b++) {
        const int64_t first = (b * problem->q_heads + slice->g * heads) * problem->q_len;
        for (int64_t row = first; row < first + heads * problem->q_len; row++) {
            for (int64_t d = slice->d0; d < slice->d1; d++)
                negate(watch->expected + (size_t)(row * dim + d) * width, width);
        }
    }
}

struct turn_slice watch_turn(struct watch *watch) {
    const struct turn_slice slice = turn_next(watch->turn);
    watch_expect(watch, &slice);
    return slice;
}

void watch_follow(struct watch *watch, const struct turn_slice *slice) {
    turn_note(watch->turn, slice);
    watch_expect(watch, slice);
}

/* The output as it were if nothing had been turned. */
static void turn_output_back(const struct watch *watch, unsigned char *out) {
    const struct attn_problem *problem = watch->problem;
    const int64_t dim = problem->value_dim, heads = problem->q_heads / problem->kv_heads;
    const size_t width = width_of(watch);
    for (int64_t row = 0; row < problem->batch * problem->q_heads * problem->q_len; row++) {
        const int64_t h = row / problem->q_len;
        for (int64_t d = 0; d < dim; d++) {
            if (turn_is(watch->turn, h / problem->q_heads, h % problem->q_heads / heads, d))
                negate(out + (size_t)(row * dim + d) * width, width);
        }
    }
}

/* How the elements that count differ. */
struct difference {
    double distance; /* the largest; NaN counts infinite */
    bool signs;      /* in nothing but signs */
    bool bare;       /* one still is what it was filled with */
};

static struct difference rows_difference(const struct watch *watch, const unsigned char *got,
                                         const unsigned char *expected, const unsigned char *blank,
                                         int32_t dtype, int64_t row_elements) {
    const struct attn_problem *problem = watch->problem;
    const size_t width = (size_t)attn_dtype_bytes(dtype);
    const int64_t step = problem->q_len * row_elements;
    struct difference difference = {.signs = true};
    for (int64_t n = 0; n < problem->batch * problem->q_heads; n++) {
        const int64_t end = n * step + watch->q_lens[n / problem->q_heads] * row_elements;
        for (int64_t i = n * step; i < end; i++) {
            const size_t at = (size_t)i * width;
            if (memcmp(got + at, expected + at, width) == 0) continue;
            const double x = number(dtype, got + at), y = number(dtype, expected + at);
            const double by = fabs(x - y);
            difference.distance = fmax(difference.distance, isnan(by) ? INFINITY : by);
            difference.signs &= fabs(x) == fabs(y) || (isnan(x) && isnan(y));
            difference.bare |= memcmp(got + at, blank, width) == 0;
        }
    }
    return difference;
}

void watch_expect_back(struct watch *watch) {
    turn_output_back(watch, watch->expected);
}

void watch_turn_back(struct watch *watch) {
    watch_expect_back(watch);
    turn_back(watch->turn);
}

void watch_compare(struct watch *watch, const unsigned char *out, const unsigned char *lse,
                   int64_t sample) {
    const int32_t dtype = watch->dtype;
    const int64_t dim = watch->problem->value_dim;
    const unsigned char *expected = watch->expected, *expected_lse = expected + watch->out_bytes;
    const unsigned char *blank = watch->blank, *blank_lse = blank + watch->out_bytes;
    watch->looked++;
    const bool right = rows_equal(watch, out, expected, blank, dtype, dim);
    if (right && (lse == NULL || rows_equal(watch, lse, expected_lse, blank_lse, ATTN_F32, 1)))
        return;
    const struct difference of_out = rows_difference(watch, out, expected, blank, dtype, dim);
    struct difference of_lse = {.distance = 0};
    if (lse != NULL) of_lse = rows_difference(watch, lse, expected_lse, blank_lse, ATTN_F32, 1);
    const double distance = fmax(of_out.distance, of_lse.distance);
    watch->stale += !right && of_out.signs;
    watch->bare += of_out.bare || of_lse.bare;
    if (watch->differed++ == 0) watch->first = sample;
    if (watch->differed > 1 && distance <= watch->distance) return;
    watch->distance = distance;
    memcpy(watch->furthest, out, watch->out_bytes);
    if (watch->turn != NULL) turn_output_back(watch, watch->furthest);
    memcpy(watch->furthest + watch->out_bytes, lse != NULL ? lse : expected_lse, watch->lse_bytes);
}

void watch_look(struct watch *watch, int64_t sample) {
    if (watch->expected == NULL || !watch->due) return;
    const double start = clock_s();
    const unsigned char *out = watch->out, *lse = watch->lse;
    if (!watch->here) {
        fetch(watch, watch->fetched);
        out = watch->fetched;
        if (lse != NULL) lse = watch->fetched + watch->out_bytes;
    }
    if (out == NULL) return; /* never, which an analyzer cannot see: watch_begin made it */
    watch_compare(watch, out, lse, sample);
    watch->spent_s += clock_s() - start;
}
