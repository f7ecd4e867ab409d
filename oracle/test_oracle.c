/* The oracle against the definition, on every line of the suites for correctness. */
#include "oracle.h"
#include "../fixtures/fixture.h"

#include <criterion/criterion.h>
#include <math.h>

static double worst(double so_far, double difference, double unit) {
    const double relative = difference == 0 ? 0 : difference / unit;
    return isnan(so_far) || relative <= so_far ? so_far : relative;
}

/* 0 where both are the same NaN or infinity; infinity where only one is. */
static double distance(double x, double y) {
    if (isfinite(x) && isfinite(y)) return fabs(x - y);
    return (isnan(x) && isnan(y)) || x == y ? 0 : INFINITY;
}

struct distances {
    double out, p_abs_v, p_rms_v;  /* relative to A */
    double lost_abs_v, lost_rms_v; /* to themselves, and as large as 2^-25 A */
    double lse, logit_abs;         /* relative to 1 + |lse|, and to itself */
    double logit_max, sum_bias;    /* relative to 1 + S, and beyond a tenth and 16 keys */
};

static struct distances compare(const struct answer *x, const struct answer *y) {
    struct distances d = {0};
    const int64_t rows = x->batch * x->q_heads * x->row_count;
    for (int64_t e = 0; e < rows * x->value_dim; e++) {
        const double A = isfinite(y->p_abs_v[e]) ? y->p_abs_v[e] : 1;
        d.out = worst(d.out, distance(x->out[e], y->out[e]), A);
        d.p_abs_v = worst(d.p_abs_v, distance(x->p_abs_v[e], y->p_abs_v[e]), A);
        d.p_rms_v = worst(d.p_rms_v, distance(x->p_rms_v[e], y->p_rms_v[e]), A);
        if (x->lost_abs_v == NULL || y->lost_abs_v == NULL || !isfinite(y->lost_rms_v[e])) continue;
        const double abs_v = y->lost_abs_v[e], rms_v = y->lost_rms_v[e];
        d.lost_abs_v = worst(d.lost_abs_v, fabs(x->lost_abs_v[e] - abs_v), abs_v + 0x1p-25 * A);
        d.lost_rms_v = worst(d.lost_rms_v, fabs(x->lost_rms_v[e] - rms_v), rms_v + 0x1p-25 * A);
    }
    for (int64_t row = 0; row < rows; row++) {
        const double lse = isfinite(y->lse[row]) ? 1 + fabs(y->lse[row]) : 1;
        d.lse = worst(d.lse, distance(x->lse[row], y->lse[row]), lse);
        const double size = isfinite(y->logit_abs[row]) ? y->logit_abs[row] : 1;
        d.logit_abs = worst(d.logit_abs, distance(x->logit_abs[row], y->logit_abs[row]), size);
        d.logit_max = worst(d.logit_max, distance(x->logit_max[row], y->logit_max[row]), 1 + size);
        const double apart =
            distance(x->sum_bias[row], y->sum_bias[row]) - 0.1 * y->sum_bias[row] - 16 * 0x1p-24;
        if (isfinite(y->logit_abs[row])) d.sum_bias = fmax(d.sum_bias, apart);
    }
    return d;
}

static void expect_agreement(const char *line) {
    struct fault fault = {0};
    struct problem problem;
    struct fixture fixture = {0};
    struct answer oracle = {0}, definition = {0};
    cr_assert(problem_parse(&problem, line, &fault), "%s: %s", line, fault.text);
    cr_assert(fixture_generate(&fixture, &problem, 1, &fault), "%s: %s", line, fault.text);
    const struct rule_view view = fixture_view(&fixture);
    cr_assert(rules_check(&view, &fault), "%s: %s", line, fault.text);
    cr_assert(oracle_answer(&oracle, &view, problem.rows, 2, NULL, &fault), "%s", fault.text);
    cr_assert(definition_answer(&definition, &view, problem.rows, 2, &fault), "%s", fault.text);

    const struct distances d = compare(&oracle, &definition);
    cr_expect(d.out <= 1e-12 && d.p_abs_v <= 1e-12 && d.p_rms_v <= 1e-12,
              "%s: out %.2g, p_abs_v %.2g, p_rms_v %.2g of A", line, d.out, d.p_abs_v, d.p_rms_v);
    cr_expect((oracle.lost_abs_v == NULL) == (definition.lost_abs_v == NULL), "%s", line);
    cr_expect(d.lost_abs_v <= 1e-9 && d.lost_rms_v <= 1e-9, "%s: lost_abs_v %.2g, lost_rms_v %.2g",
              line, d.lost_abs_v, d.lost_rms_v);
    cr_expect(d.lse <= 1e-12, "%s: lse %.2g", line, d.lse);
    /* Where c is near -1, d log u / d c has lost half its digits before it is computed. */
    cr_expect(d.logit_abs <= 1e-9, "%s: logit_abs %.2g", line, d.logit_abs);
    cr_expect(d.logit_max <= 1e-9 && d.sum_bias <= 0, "%s: logit_max %.2g, sum_bias %g", line,
              d.logit_max, d.sum_bias);
    cr_expect(distance(oracle.kept_ratio, definition.kept_ratio) <= 1e-12, "%s", line);
    if (isfinite(definition.kept_mass))
        cr_expect(distance(oracle.kept_mass, definition.kept_mass) <= 1e-9, "%s: mass %g, not %g",
                  line, oracle.kept_mass, definition.kept_mass);
    answer_free(&oracle);
    answer_free(&definition);
    fixture_free(&fixture);
}

/* Under sanitizers, which look at accesses and not at numbers, every third line. */
#ifdef __SANITIZE_ADDRESS__
enum { EACH = 3 };
#else
enum { EACH = 1 };
#endif

static void expect_agreement_on(const char *name) {
    struct fault fault = {0};
    struct suite suite = {0};
    cr_assert(suite_read(&suite, SUITES, name, &fault), "%s", fault.text);
    cr_assert(suite.count > 0);
    for (int64_t n = 0; n < suite.count; n += EACH) expect_agreement(suite.lines[n]);
    suite_free(&suite);
}

Test(oracle, agrees_with_the_definition_on_the_smoke_suite) {
    expect_agreement_on("smoke");
}

Test(oracle, agrees_with_the_definition_on_the_edge_suite) {
    expect_agreement_on("edge");
}

/* Several ranges of keys a block, several blocks a head, ends inside both. */
Test(oracle, agrees_with_the_definition_where_work_is_cut) {
    static const char *const lines[] = {
        "f16-b1-hq2-hkv1-kv9000-d32",
        "f32-b1-hq4-hkv1-q130-kv2600-d16-causal",
        "bf16-b1-hq3-hkv1-q600-kv600-d24-causal",
        "f16-b2-hq2-hkv1-q300-kv300-d16-lens300,257-causal",
        "f16-b2-hq2-hkv1-kv9000-d32-page64-lens9000,4097",
        "f16-b1-hq2-hkv1-kv9000-d32-keep5000",
        "f16-b2-hq2-hkv1-kv7000-d32-page64-lens7000,5-keep0.7-magicpig",
        "f16-b2-hq6-hkv2-kv7000-d32-page64-lens7000,5-keep0.7-keepgroup",
        "f16-b1-hq300-hkv1-q3-kv900-d16-page16-causal-keep500-keepgroup-sinks",
        "f32-b2-hq6-hkv2-q9-kv2600-d16-page64-causal-lens2600,97-qlens9,4-keep0.5-keepgroup-alibi",
        "bf16-b2-hq3-hkv3-q9-kv300-d16-page64-lens300,97-qlens9,4-keep0.5-softcap5-rows4",
        "f16-b2-hq4-hkv1-q5-kv400-d48-dv32-kshared-page64-causal-lens400,3-keeptop64-keepgroup",
        "f16-b1-hq2-hkv1-q500-kv700-d16-causal-rows7",
        "f16-b1-hq2-hkv1-q500-kv700-d16-rows1",
        "f16-b1-hq4-hkv1-q300-kv5000-d16-causal-window2900",
        "f16-b1-hq2-hkv1-q300-kv5000-d16-window300,2100-softcap3-sinks",
        "f32-b2-hq4-hkv2-q130-kv9000-d16-page64-causal-lens9000,4097-qlens130,40-sinks-alibi",
        "f32-b2-hq4-hkv2-q70-kv9000-d16-page64-causal-lens9000,4097-qlens70,40-softcap5-bias2,1",
        "f16-b2-hq4-hkv2-q1-kv5000-d16-lens5000,300-sinks-bias",
        "f16-b2-hq4-hkv2-q1-kv5000-d16-lens5000,300-sinks-kve4m3token-peaked",
        "f32-b2-hq4-hkv2-q70-kv600-d16-page64-causal-lens600,97-qlens70,40-kvint8token",
        "bf16-b2-hq4-hkv2-q130-kv300-d80-causal-kvint8head",
        "f16-b2-hq4-hkv2-kv900-d32-page16-lens900,513-keep0.2-magicpig-kve4m3head",
        "f32-b2-hq4-hkv1-q7-kv600-d24-dv40-page64-causal-lens600,97-qlens7,4-kvint8token",
        "f16-b2-hq4-hkv2-q7-kv600-d24-dv16-kshared-page64-causal-lens600,97-kve4m3token",
        "bf16-b2-hq6-hkv3-kv300-d40-dv24-kshared-kvint8head-sinks",
        "f16-b2-hq6-hkv2-q5-kv300-d40-kshared-page16-causal-keep50-keepgroup-kve4m3",
        "bf16-b2-hq2-hkv1-kv9000-d32-lens9000,20-window5000-lead",
        "f32-b1-hq4-hkv1-q130-kv2600-d16-dv40-causal",
        "f16-b1-hq2-hkv1-kv2600-d1-dv1024-peaked",
        "bf16-b2-hq4-hkv1-kv9000-d40-dv24-kshared-page64-lens9000,4097-sinks-peaked",
        "f16-b2-hq2-hkv1-kv7000-d32-dv9-kshared-page64-lens7000,5-keep0.7-magicpig",
        "bf16-b4-hq12-hkv3-kv5-d987-page256-lens5,2,3,3-keep3-magicpig-kvint8-ascending",
        "f16-b1-hq2-hkv1-kv9000-d32-peaked",
        "f16-b1-hq4-hkv1-q130-kv2600-d16-causal-peaked",
        "f16-b1-hq2-hkv1-kv9000-d32-keep5000-peaked",
        "f16-b2-hq2-hkv1-kv7000-d32-page64-lens7000,5-keep0.7-magicpig-peaked",
    };
    for (size_t n = 0; n < sizeof lines / sizeof *lines; n++) expect_agreement(lines[n]);
}
