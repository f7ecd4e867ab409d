#include "live.h"
#include "../report/pages.h"
#include "../report/print.h"
#include "../report/summary.h"

/* Each kernel is tried by itself before, and timed for a moment: that finds the ones that cheat a
 * clock. */
static const double alone_ms = 20;
enum { ALONE_SAMPLES = 5 };

bool forms_show(const struct forms *forms, const struct comparison *comparison,
                const char *const names[2], struct fault *fault) {
    if (forms->html != NULL && !pages_compare(forms->html, comparison, names[0], names[1], fault))
        return false;
    if (forms->summary) return summary_of_comparison(stdout, comparison, names[0], names[1], fault);
    if (!forms->json) compare_print(stdout, comparison, names[0], names[1], forms->markdown);
    return true;
}

/* Of one timing, cold or warm: into *json, or printed; `forms` NULL: neither. Adds its regressions.
 */
static bool show_timing(const struct run *run, const char *const names[2],
                        const struct compare_options *options, const struct forms *forms,
                        json_t **json, int64_t *regressions, struct fault *fault) {
    struct comparison comparison = {0};
    const bool well = compare_live(&comparison, run, options, fault) &&
                      (forms == NULL || forms_show(forms, &comparison, names, fault));
    if (well && forms != NULL && forms->json) *json = compare_json(&comparison);
    if (well) *regressions += comparison.regressions;
    compare_free(&comparison);
    return well;
}

/* Warm times, unless there are none or cold ones are asked for alone; then cold ones, if any: of
 * these a summary, which has room for one timing, says no more than that rows became worse. */
static int show_all(const struct run *run, const char *const names[2],
                    const struct compare_options *options, const struct forms *forms) {
    struct fault fault = {0};
    struct compare_options of = *options;
    struct forms second = *forms;
    json_t *warm = NULL, *cold = NULL;
    int64_t regressions = 0, of_cold = 0;
    const bool has_cold = options->cold || run_has_duels(run, true);
    const bool has_warm = !options->cold && (run_has_duels(run, false) || !has_cold);
    of.cold = false;
    bool well = !has_warm || show_timing(run, names, &of, forms, &warm, &regressions, &fault);
    if (has_warm) second.html = NULL;
    if (well && has_warm && has_cold && !forms->json && !forms->summary) putchar('\n');
    of.cold = true;
    const bool only_said = has_warm && forms->summary;
    if (well && has_cold)
        well = show_timing(run, names, &of, only_said ? NULL : &second, &cold, &of_cold, &fault);
    if (well && only_said && of_cold > 0)
        print_markdown(stdout, "\n*By cold times %s became worse: `%s` shows them.*\n",
                       number_count(of_cold, "row").text, "attest compare RUN --cold --summary");
    if (warm != NULL && cold != NULL) json_object_set(warm, "cold", cold);
    if (well && forms->json)
        print_json(stdout, json_incref(warm != NULL ? warm : cold), JSON_INDENT(2));
    json_decref(warm);
    json_decref(cold);
    return !well ? fault_tell(&fault) : regressions + of_cold > 0 ? EXIT_REGRESSION : 0;
}

int live_print(const struct run *run, const char *name, const struct compare_options *options,
               const struct forms *forms) {
    static const char *const beside = "launched in turn";
    return show_all(run, (const char *const[]){name, beside}, options, forms);
}

int live_compare(struct live_options *options, int argc, char **argv) {
    char folder[SESSION_FOLDER_BYTES] = "";
    struct session_options *session = &options->session;
    struct run run = {0};
    struct fault fault = {0};
    const char *const *names = options->names.list;
    session->live.old = names[0];
    session->live.least = options->least;
    session->globs = (struct texts){.list = (const char **)&names[1], .count = 1};
    session->no_probe = true;
    session->trial.plan.total_ms_max = alone_ms;
    session->trial.plan.samples_min = ALONE_SAMPLES;
    ask_complete(session);
    const int ran = session_run(session, argc, argv, folder);
    session->globs = (struct texts){0}; /* it is names' */
    if (folder[0] == '\0') return ran;
    int status = run_read(&run, folder, &fault) ? 0 : fault_tell(&fault);
    if (status == 0)
        status = show_all(&run, names, &(struct compare_options){.least = options->least},
                          &options->forms);
    run_free(&run);
    /* What rows come to, wrong ones too, is the comparison's to say; what kept a row from being is
     * not. */
    return ran >= FAULT_INPUT ? ran : status;
}
