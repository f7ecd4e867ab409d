/* Rows and the machine as JSON lines. What a field is called, its unit and what it means stand in
 * two tables, and everything that reads or writes a field goes through them. */
#include "record.h"
#include "../worker/protocol.h"
#include "../worker/regime.h"
#include "../../oracle/regular.h"
#include "../../oracle/text.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SIZE_OF(type, member) sizeof(((struct type *)NULL)->member)
#define FIELD(kind, type, name, member, unit, meaning)                                             \
    { name, unit, meaning, kind, offsetof(struct type, member), SIZE_OF(type, member) }
#define TEXT(name, meaning) FIELD(ROW_TEXT, row, #name, name, "", meaning)
#define KEPT(name, meaning) FIELD(ROW_KEPT, row, #name, name, "", meaning)
#define INTEGER(name, unit, meaning) FIELD(ROW_INTEGER, row, #name, name, unit, meaning)
#define REAL(name, unit, meaning) FIELD(ROW_REAL, row, #name, name, unit, meaning)
#define COUNTED(name, meaning) FIELD(ROW_INTEGER, row, #name, deviation.name, "", meaning)
#define MEASURED(name, unit, meaning) FIELD(ROW_REAL, row, #name, deviation.name, unit, meaning)
#define PLACE(prefix, member, what)                                                                \
    FIELD(ROW_INTEGER, row, prefix "_b", deviation.member.b, "", what ": sequence; -1: none"),     \
        FIELD(ROW_INTEGER, row, prefix "_h", deviation.member.h, "", what ": query head"),         \
        FIELD(ROW_INTEGER, row, prefix "_i", deviation.member.i, "", what ": query"),              \
        FIELD(ROW_INTEGER, row, prefix "_d", deviation.member.d, "", what ": element"),            \
        FIELD(ROW_REAL, row, prefix "_got", deviation.member.got, "", what ": the kernel's"),      \
        FIELD(ROW_REAL, row, prefix "_expected", deviation.member.expected, "",                    \
              what ": the answer"),                                                                \
        FIELD(ROW_REAL, row, prefix "_tolerance", deviation.member.tolerance, "",                  \
              what ": how far apart they may be")
#define TIMES(mode, what)                                                                          \
    FIELD(ROW_INTEGER, row, #mode "_n", mode.n, "", "samples, " what "; 0: not timed"),            \
        FIELD(ROW_REAL, row, #mode "_min_us", mode.min_us, "us", "fastest launch, " what),         \
        FIELD(ROW_REAL, row, #mode "_q1_us", mode.q1_us, "us", "lower quartile, " what),           \
        FIELD(ROW_REAL, row, #mode "_median_us", mode.median_us, "us", "median, " what),           \
        FIELD(ROW_REAL, row, #mode "_q3_us", mode.q3_us, "us", "upper quartile, " what),           \
        FIELD(ROW_REAL, row, #mode "_max_us", mode.max_us, "us", "slowest launch, " what),         \
        FIELD(ROW_REAL, row, #mode "_ci_low_us", mode.ci_low_us, "us",                             \
              "95 % interval of the median, lower end, " what),                                    \
        FIELD(ROW_REAL, row, #mode "_ci_high_us", mode.ci_high_us, "us",                           \
              "95 % interval of the median, upper end, " what),                                    \
        FIELD(ROW_TEXT, row, #mode "_stop", mode.stop, "",                                         \
              "why sampling ended, " what                                                          \
              ": ci, plateau or cap; width: launched in turn, and enough"),                        \
        FIELD(ROW_TEXT, row, #mode "_how", mode.how, "",                                           \
              "what a sample is, " what                                                            \
              ": graph (a replay of many launches, over their number), events (one launch "        \
              "between two events), clock (one call by the host's clock)"),                        \
        FIELD(ROW_INTEGER, row, #mode "_launches", mode.launches, "", "launches a sample, " what), \
        FIELD(ROW_INTEGER, row, #mode "_set_aside", mode.set_aside, "",                            \
              "samples that do not count because the GPU's clock was low, or others were at "      \
              "work on the CPU's core, " what),                                                    \
        FIELD(ROW_INTEGER, row, #mode "_interrupted", mode.interrupted, "",                        \
              "samples by the host's clock during which somebody else got the processor, " what),  \
        FIELD(ROW_INTEGER, row, #mode "_processes", mode.processes, "",                            \
              "in how many processes, one after the other, it was timed, of which the fastest "    \
              "stands here, " what "; 0: in one"),                                                 \
        FIELD(ROW_REAL, row, #mode "_next_us", mode.next_us, "us",                                 \
              "lower quartile in the process that was next, " what),                               \
        FIELD(ROW_REAL, row, #mode "_clock_mhz", mode.clock_mhz, "MHz",                            \
              "median clock of the GPU, " what),                                                   \
        FIELD(ROW_REAL, row, #mode "_control_begin_us", mode.control_us[0], "us",                  \
              "lower quartile of a fixed piece of work, done beside samples: their first "         \
              "third, " what),                                                                     \
        FIELD(ROW_REAL, row, #mode "_control_middle_us", mode.control_us[1], "us",                 \
              "of the second third, " what),                                                       \
        FIELD(ROW_REAL, row, #mode "_control_end_us", mode.control_us[2], "us",                    \
              "of the last third, " what)

#define VERSUS(mode, what)                                                                         \
    FIELD(ROW_INTEGER, row, "versus_" #mode "_pairs", versus_##mode.pairs, "",                     \
          "rounds in which it and `versus` were launched in turn, " what "; 0: none"),             \
        FIELD(ROW_REAL, row, "versus_" #mode "_ratio", versus_##mode.ratio, "1",                   \
              "its time over that of `versus`, of either with its copy, the median of "            \
              "rounds, " what),                                                                    \
        FIELD(ROW_REAL, row, "versus_" #mode "_low", versus_##mode.low, "1",                       \
              "99 % interval, widened by half of what the control is off 1; lower end, " what      \
              "; null: too few "                                                                   \
              "rounds"),                                                                           \
        FIELD(ROW_REAL, row, "versus_" #mode "_high", versus_##mode.high, "1",                     \
              "upper end, " what),                                                                 \
        FIELD(ROW_REAL, row, "versus_" #mode "_p", versus_##mode.p, "1",                           \
              "p of a difference no larger than it was widened by, two-sided, " what),             \
        FIELD(ROW_REAL, row, "versus_" #mode "_control", versus_##mode.control, "1",               \
              "a copy of one of both libraries over it in the same rounds, the one that differs "  \
              "more, " what),                                                                      \
        FIELD(ROW_REAL, row, "versus_" #mode "_control_low", versus_##mode.control_low, "1",       \
              "99 % interval of that, lower end, " what),                                          \
        FIELD(ROW_REAL, row, "versus_" #mode "_control_high", versus_##mode.control_high, "1",     \
              "upper end, " what),                                                                 \
        FIELD(                                                                                     \
            ROW_REAL, row, "versus_" #mode "_inflation", versus_##mode.inflation, "1",             \
            "rounds that are worth an independent difference, since neighbours are alike, " what), \
        FIELD(ROW_REAL, row, "versus_" #mode "_needed", versus_##mode.needed, "1",                 \
              "rounds that a verdict takes at this ratio, " what                                   \
              "; 0: no number is enough; null: "                                                   \
              "there is one")

const struct row_field row_fields[] = {
    TEXT(kernel, "device/variant_method_rN"),
    TEXT(device, "cpu, cuda, ascend, twin; anchor for a row that is computed, not run"),
    INTEGER(device_index, "", "which of them: 1 for cuda:1"),
    TEXT(variant, "prefill, decode_paged, ..."),
    TEXT(method, "the kernel's name without variant and revision"),
    INTEGER(revision, "", "the kernel's revision"),
    TEXT(change, "what this revision tries, in the kernel's words"),
    TEXT(library_digest, "XXH3-128 of the shared library"),
    TEXT(line, "the problem"),
    FIELD(
        ROW_PATH, row, "file", file, "",
        "the fixture's path where it was named with -f; a byte that is no UTF-8 is written \\xff, "
        "a backslash twice"),
    TEXT(fixture_digest, "XXH3-128 over the digests of all tensors"),
    TEXT(dtype, "element type of q, and of k, v and out where the line says no other"),
    INTEGER(batch, "", "B, sequences"),
    INTEGER(q_heads, "", "Hq, query heads"),
    INTEGER(kv_heads, "", "Hkv, key and value heads"),
    INTEGER(q_len, "tokens", "Sq, room for query tokens"),
    INTEGER(kv_len, "tokens", "Skv, room for key tokens, or the longest sequence"),
    INTEGER(head_dim, "", "D"),
    INTEGER(
        value_dim, "",
        "Dv: elements of a value and of the output; 0: of a run before it could be another than D"),
    INTEGER(page_size, "tokens", "P; 0 without pages"),
    INTEGER(pages, "", "pages in kv_cache"),
    TEXT(status, "PASS, FAIL_..., CRASH, HANG, OOM, REFUSED, UNSTABLE, INVALID_PHYSICS"),
    TEXT(reason, "why it is not PASS: the gate, the number, the bound, the place"),
    TEXT(grade, "accuracy grade reached: A, B, C, F none, - not judged"),
    TEXT(lse_grade,
         "accuracy grade that the lse reached: A, B, F none; empty: the kernel writes none"),
    INTEGER(bias_warning, "", "1: |bias| is above 0.3"),
    KEPT(diagnosis,
         "what a wrong output looks like: the hypothesis that explains it, and where it is wrong"),
    KEPT(repeat, "the command that repeats a row that did not pass"),
    TEXT(checks,
         "whether inputs ended where memory did (edges), which were shown to be read anew (values "
         "signs keys pages batch fresh), and what was not, and why"),
    COUNTED(elements, "elements of out that were judged"),
    REAL(nan_ratio, "1", "share of judged elements that are NaN"),
    REAL(inf_ratio, "1", "share that is infinite"),
    REAL(unwritten_ratio, "1", "share that the kernel never wrote"),
    REAL(kept_ratio, "1", "kept tokens / tokens that rows may see; 1 for dense problems"),
    REAL(kept_mass, "1", "share of the dense softmax mass on kept tokens; null: not computed"),
    COUNTED(nan_count, "judged elements that are NaN"),
    COUNTED(inf_count, "judged elements that are infinite"),
    COUNTED(unwritten_count, "judged elements that were never written"),
    COUNTED(structure_count, "NaN or infinity where the answer has none, or the reverse"),
    COUNTED(empty_row_count, "rows that see no key"),
    COUNTED(empty_row_wrong, "of these, rows whose out is not 0 or whose lse is not -infinity"),
    COUNTED(inexact_count, "elements that are not o rounded once where exact arithmetic would be"),
    MEASURED(max_ref, "", "max |o|, o the unrounded answer"),
    MEASURED(max_out, "", "max |got| over finite values"),
    MEASURED(max_abs, "", "max |got - o|"),
    MEASURED(mean_abs, "", "mean |got - o|"),
    MEASURED(rms_abs, "", "rms(got - o)"),
    PLACE("worst", worst, "worst element"),
    MEASURED(t_max, "1", "max |got - o| / tau; above 1 fails"),
    MEASURED(rho, "1", "rms(got - o) / rms(model), whole tensor"),
    MEASURED(rho_chance, "1", "what chance may multiply rho with, small samples"),
    MEASURED(rho_block, "1", "the same over the worst (head, 128 queries); decides the grade"),
    MEASURED(rho_block_chance, "1", "what chance may multiply it with there"),
    COUNTED(rho_block_b, "where that block is: sequence"),
    COUNTED(rho_block_h, "query head"),
    COUNTED(rho_block_i, "first query"),
    MEASURED(bias, "1", "mean(sign(o)(got - o)) / rms(model)"),
    MEASURED(ulp_median, "ulp", "median |got - o| in ulp of o, output type"),
    MEASURED(ulp_p99, "ulp", "99th percentile"),
    MEASURED(ulp_max, "ulp", "maximum"),
    FIELD(ROW_COUNTS, row, "ulp_counts", deviation.ulp_counts, "",
          "elements by |got - o| in ulp: below 2^-7, from there to 2^-6, ..., beyond 2^15"),
    MEASURED(cosine, "1", "cosine of got and o"),
    MEASURED(rms_relative, "1", "rms(got - o) / rms(o)"),
    MEASURED(mere, "1", "mean |got - o| / (|o| + 1e-7)"),
    MEASURED(mare, "1", "maximum of the same"),
    MEASURED(rho_std16, "1", "rms(got - o) / rms of the textbook 16-bit kernel; null: not known"),
    COUNTED(lse_wrong, "rows whose lse is beyond its bound"),
    MEASURED(lse_max, "1", "max |got - lse| / bound; null: the kernel writes none"),
    PLACE("lse_worst", lse_worst, "worst lse"),
    COUNTED(pad_rows, "rows beyond a sequence's length; not judged"),
    COUNTED(pad_left, "of these, rows the kernel left alone"),
    COUNTED(pad_zeroed, "rows it zeroed"),
    COUNTED(pad_overwritten, "rows it overwrote"),
    TIMES(cold, "caches emptied before each launch"),
    TIMES(warm, "one launch after the other"),
    FIELD(ROW_INTEGER, row, "cold_copies", cold.copies, "",
          "copies of all inputs, outputs and scratch that cold launches went through in turn, so "
          "that between two uses of one 4 x L2 bytes are touched; 0: caches were emptied before "
          "each launch"),
    TEXT(regime,
         "of a GPU's times: sustained (from when clock and median have settled on) or burst "
         "(the first 40 ms of work after 0.5 s of rest); empty: of no GPU, or not known"),
    REAL(burst_us, "us",
         "median of one burst, warm, of a sustained row during which the GPU was slowed or its "
         "clock "
         "below its highest; null: it is within 2 % of warm_median_us, or was not taken"),
    REAL(burst_clock_mhz, "MHz", "median clock in that burst"),
    REAL(burst_watts, "W", "the GPU's power at its end"),
    REAL(single_us, "us", "median of a few launches alone, each between two events"),
    REAL(changed_us, "us",
         "median of warm launches, one at a time, before which the sign of values was changed"),
    REAL(outside_us, "us",
         "a warm launch, of some in a row, by the clock of the process that asked for them"),
    REAL(spoilt_us, "us",
         "a recorded warm launch whose output is filled and whose values have another sign than "
         "before, without what that takes"),
    REAL(beside_us, "us",
         "a recorded warm launch before which as much is filled and copied, and nothing changes"),
    REAL(spoil_us, "us", "that filling and copying, for a launch"),
    TEXT(unspoilt, "why nothing could be changed between recorded launches"),
    REAL(watts, "W", "the GPU's power at the end of timing"),
    REAL(celsius, "deg C", "its temperature"),
    TEXT(slowed, "why its clock was not higher then, in NVML's words"),
    TEXT(unrecorded, "why launches could not be replayed from a graph"),
    INTEGER(overlapped, "",
            "1: launches of a replay may begin before the one before has ended (programmatic "
            "dependent launch), so that its time is less than that of one alone"),
    REAL(prepare_us, "us", "the kernel's prepare, once"),
    REAL(flops, "", "what the problem needs: 2 (D + Dv) for each visible (query, key)"),
    REAL(bytes, "B",
         "what must move at least: each visible row of keys and values once, queries, output, "
         "tables, scales"),
    REAL(tflops, "TFLOP/s", "flops over the warm median"),
    REAL(gbs, "GB/s", "bytes over the cold median, or the warm one where there is no cold"),
    REAL(ceiling_percent, "%", "of the nearer of the two measured ceilings"),
    TEXT(ceiling, "which one: flops (of a CPU f32 multiply-adds in registers, of a GPU 16-bit "
                  "products), bytes (its read rate) or gather (of rows as long as the problem's)"),
    TEXT(ceiling_from,
         "where the ceilings are from: measured in this run, kept from another on such a "
         "machine, data sheet, or bound, which no such CPU reaches"),
    REAL(seconds, "s", "wall time of the row, all included"),
    REAL(
        estimate_us, "us",
        "of a twin's row: floor that the counted work implies on a 910B2, overlap assumed perfect; "
        "an estimate, never a time"),
    TEXT(counted, "the work that the estimate is of, as the twin counted it"),
    TEXT(versus, "the kernel that it was launched in turn with (`attest compare --live`)"),
    TEXT(versus_digest, "that one's library_digest"),
    TEXT(versus_why, "why they were not timed; empty: they were"),
    REAL(versus_least, "1", "the difference that mattered: 0.01 is 1 %"),
    VERSUS(cold, "cold"),
    VERSUS(warm, "warm"),
    {NULL, NULL, NULL, ROW_TEXT, 0, 0},
};

#define MACHINE_TEXT(name, meaning) FIELD(ROW_TEXT, machine, #name, name, "", meaning)
#define MACHINE_REAL(name, unit, meaning) FIELD(ROW_REAL, machine, #name, name, unit, meaning)

const struct row_field machine_fields[] = {
    MACHINE_TEXT(time, "start of the run, UTC"),
    MACHINE_TEXT(host, "name of the host"),
    MACHINE_TEXT(device, "cpu, or the accelerator's name"),
    MACHINE_TEXT(commit, "of the tree this program was built from"),
    FIELD(ROW_INTEGER, machine, "dirty", dirty, "", "1: that tree had changes"),
    FIELD(ROW_INTEGER, machine, "haste", haste, "",
          "times of this run are none: a test of attest had what is done for their sake done so "
          "many times less; 0: they are"),
    MACHINE_TEXT(
        gpus_timed,
        "in turn: one GPU or NPU of the host at a time, also of other runs with the same "
        "cache; together: each when it came to that (`--together`); empty: none was timed, "
        "or by an older version, together"),
    FIELD(ROW_KEPT, machine, "command", command, "", "the command line, as bash reads it"),
    MACHINE_TEXT(deal,
                 "of a part of `--shard I/N --by COSTS`: a digest of which row is in which, the "
                 "same for all parts of a run"),
    MACHINE_TEXT(cpu, "CPU model"),
    FIELD(ROW_INTEGER, machine, "cores", cores, "", "cores this process may use"),
    MACHINE_TEXT(isa, "the vector instruction sets among those that matter here"),
    MACHINE_REAL(memory_bytes, "B", "memory of the machine"),
    MACHINE_TEXT(os, "distribution and kernel"),
    MACHINE_TEXT(compiler, "that built this program"),
    MACHINE_TEXT(blas, "OpenBLAS' description of itself"),
    MACHINE_TEXT(hdf5, "HDF5 version"),
    MACHINE_REAL(dgemm_flops, "FLOP/s", "1024^3 dgemm, all cores; 0: not measured"),
    MACHINE_REAL(sgemm_flops, "FLOP/s", "1024^3 sgemm, all cores"),
    MACHINE_REAL(fma_flops, "FLOP/s", "f32 multiply-adds in registers, all cores"),
    MACHINE_REAL(read_bytes_s, "B/s", "reading memory, all cores"),
    MACHINE_REAL(copy_bytes_s, "B/s", "copying memory, read and written bytes, all cores"),
    MACHINE_TEXT(ceilings, "measured in this run, or kept from another on such a machine"),
    {NULL, NULL, NULL, ROW_TEXT, 0, 0},
};

#define DEVICE_TEXT(name, meaning) FIELD(ROW_TEXT, machine_device, #name, name, "", meaning)
#define DEVICE_INTEGER(name, unit, meaning)                                                        \
    FIELD(ROW_INTEGER, machine_device, #name, name, unit, meaning)
#define DEVICE_REAL(name, unit, meaning) FIELD(ROW_REAL, machine_device, #name, name, unit, meaning)

const struct row_field machine_device_fields[] = {
    DEVICE_TEXT(device, "cuda, ascend"),
    DEVICE_INTEGER(index, "", "which of them: 1 for cuda:1"),
    DEVICE_TEXT(name, "what the driver calls it"),
    DEVICE_TEXT(uuid, "which of all of that name, as nvidia-smi prints it; empty: not known"),
    DEVICE_TEXT(driver, "the newest CUDA that the driver supports, or AscendCL's version"),
    DEVICE_INTEGER(processors, "", "multiprocessors, or AI cores"),
    DEVICE_REAL(memory_bytes, "B", "its memory"),
    DEVICE_REAL(cache_bytes, "B", "its L2"),
    DEVICE_REAL(clock_mhz, "MHz", "the highest clock it is specified for"),
    DEVICE_INTEGER(ecc, "", "1: its memory is error corrected, 0: not, -1: not known"),
    DEVICE_REAL(copy_bytes_s, "B/s", "copying memory, read and written bytes; 0: not measured"),
    DEVICE_REAL(read_bytes_s, "B/s", "reading memory"),
    DEVICE_REAL(gather_128_bytes_s, "B/s", "reading rows of 128 bytes at random places"),
    DEVICE_REAL(gather_256_bytes_s, "B/s", "rows of 256 bytes"),
    DEVICE_REAL(gather_512_bytes_s, "B/s", "rows of 512 bytes"),
    DEVICE_REAL(gather_1024_bytes_s, "B/s", "rows of 1024 bytes"),
    DEVICE_REAL(f16_flops, "FLOP/s", "8192^3 product of random f16, sums in f32, sustained"),
    DEVICE_REAL(bf16_flops, "FLOP/s", "the same of bf16"),
    DEVICE_REAL(f16_burst_flops, "FLOP/s",
                "that of f16 in the first 40 ms of work after 0.5 s of rest"),
    DEVICE_REAL(bf16_burst_flops, "FLOP/s", "the same of bf16"),
    DEVICE_REAL(launch_us, "us", "an empty kernel between two events"),
    DEVICE_REAL(graph_launch_us, "us", "an empty kernel, one of many in a graph"),
    DEVICE_TEXT(ceilings, "measured in this run, or kept from another on such a GPU"),
    {NULL, NULL, NULL, ROW_TEXT, 0, 0},
};

static int text_order(const void *a, const void *b) {
    return strcmp(a, b);
}

const char *text_kept(const char *text) {
    static void *texts;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    const void *const *found = tfind(text, &texts, text_order);
    if (found == NULL) {
        char *copy = strdup(text);
        found = copy != NULL ? tsearch(copy, &texts, text_order) : NULL;
    }
    const char *kept = found != NULL ? *found : NULL;
    pthread_mutex_unlock(&lock);
    if (kept != NULL) return kept;
    fault_say("out of memory for a text");
    exit(FAULT_OURS);
}

/* A text that lives as long as `value`. */
static const char *text_of(json_t *value, bool is_path) {
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    char *path = is_path && strchr(text, '\\') != NULL ? malloc(strlen(text) + 1) : NULL;
    if (path == NULL) return text;
    path_from_text(path, text);
    json_string_set_nocheck(value, path);
    free(path);
    return json_string_value(value);
}

static json_t *counts_to_json(const int64_t *counts, size_t bytes) {
    size_t used = bytes / sizeof *counts;
    while (used > 0 && counts[used - 1] == 0) used--;
    json_t *json = json_array();
    for (size_t n = 0; n < used; n++) json_array_append_new(json, json_integer(counts[n]));
    return json;
}

static void counts_from_json(int64_t *counts, size_t bytes, const json_t *json) {
    for (size_t n = 0; n < bytes / sizeof *counts; n++)
        counts[n] = json_integer_value(json_array_get(json, n));
}

static json_t *fields_to_json(const struct row_field *fields, const void *from) {
    json_t *json = json_object();
    for (const struct row_field *field = fields; field->name != NULL; field++) {
        const void *at = (const char *)from + field->offset;
        json_t *value = NULL;
        switch (field->type) {
        case ROW_TEXT:
            value = text_to_json(at);
            break;
        case ROW_KEPT:
        case ROW_PATH: {
            const char *text = *(const char *const *)at;
            if (text == NULL) text = "";
            value = field->type == ROW_PATH ? path_to_json(text) : text_to_json(text);
            break;
        }
        case ROW_INTEGER:
            value = json_integer(*(const int64_t *)at);
            break;
        case ROW_REAL:
            value = json_real(*(const double *)at);
            break; /* NULL if not finite */
        case ROW_COUNTS:
            value = counts_to_json(at, field->bytes);
            break;
        }
        json_object_set_new(json, field->name, value != NULL ? value : json_null());
    }
    return json;
}

/* Members that are missing or null are "", 0 and NaN: a run written by an older program reads.
 * Texts of any length live as long as `json`. */
static void fields_from_json(const struct row_field *fields, void *to, const json_t *json) {
    for (const struct row_field *field = fields; field->name != NULL; field++) {
        json_t *value = json_object_get(json, field->name);
        void *at = (char *)to + field->offset;
        switch (field->type) {
        case ROW_TEXT: {
            const char *text = json_string_value(value);
            text_copy(at, field->bytes, text != NULL ? text : "");
            break;
        }
        case ROW_KEPT:
        case ROW_PATH:
            *(const char **)at = text_of(value, field->type == ROW_PATH);
            break;
        case ROW_INTEGER:
            *(int64_t *)at = json_integer_value(value);
            break;
        case ROW_REAL:
            *(double *)at = json_is_number(value) ? json_number_value(value) : NAN;
            break;
        case ROW_COUNTS:
            counts_from_json(at, field->bytes, value);
        }
    }
}

static void keep_texts(const struct row_field *fields, void *of) {
    for (const struct row_field *field = fields; field->name != NULL; field++) {
        const char **text = (const char **)((char *)of + field->offset);
        if (field->type == ROW_KEPT || field->type == ROW_PATH) *text = text_kept(*text);
    }
}

json_t *row_to_json(const struct row *row) {
    return fields_to_json(row_fields, row);
}

static bool borrow_row(struct row *row, const json_t *json) {
    *row = (struct row){0};
    fields_from_json(row_fields, row, json);
    row->deviation.lse_judged = !isnan(row->deviation.lse_max);
    return row->kernel[0] != '\0' && row->line[0] != '\0' && row->status[0] != '\0';
}

bool row_from_json(struct row *row, const json_t *json) {
    const bool is_row = borrow_row(row, json);
    keep_texts(row_fields, row);
    return is_row;
}

void machine_device_from_json(struct machine_device *device, const json_t *json) {
    fields_from_json(machine_device_fields, device, json);
    for (const struct row_field *field = machine_device_fields; field->name != NULL; field++) {
        double *value = (double *)((char *)device + field->offset);
        if (field->type == ROW_REAL && isnan(*value)) *value = 0; /* not measured */
    }
}

json_t *machine_to_json(const struct machine *machine) {
    json_t *json = fields_to_json(machine_fields, machine), *devices = json_array();
    for (int64_t n = 0; n < machine->device_count; n++)
        json_array_append_new(devices, fields_to_json(machine_device_fields, &machine->devices[n]));
    json_object_set_new(json, "devices", devices);
    json_object_set_new(json, "format", json_string("attest-run"));
    json_object_set_new(json, "version", json_integer(1));
    return json;
}

const struct machine_device *machine_device_of(const struct machine *machine, const char *device,
                                               int64_t index) {
    for (int64_t n = 0; n < machine->device_count; n++) {
        if (!strcmp(machine->devices[n].device, device) && machine->devices[n].index == index)
            return &machine->devices[n];
    }
    return NULL;
}

bool machines_are_one(const struct machine *of_a, const struct row *a, const struct machine *of_b,
                      const struct row *b) {
    const struct machine_device *on_a = machine_device_of(of_a, a->device, a->device_index);
    const struct machine_device *on_b = machine_device_of(of_b, b->device, b->device_index);
    if (on_a != NULL && on_b != NULL) {
        if (on_a->uuid[0] != '\0' && on_b->uuid[0] != '\0')
            return strcmp(on_a->uuid, on_b->uuid) == 0;
        if (on_a->index != on_b->index) return false;
    }
    return strcmp(of_a->host, of_b->host) == 0;
}

const char *machine_doubt(const struct machine *machine) {
    return machine->haste > 0 ? ", in haste: its times are none" : "";
}

const char *machine_turns(const struct machine *machine) {
    if (!strcmp(machine->gpus_timed, "in turn"))
        return "in turn, one of the host at a time, while others are judged";
    return machine->gpus_timed[0] != '\0' && machine->device_count > 1
               ? "together, so that one may have disturbed another"
               : "";
}

static bool machine_from_json(struct machine *machine, const json_t *json) {
    const char *format = json_string_value(json_object_get(json, "format"));
    if (format == NULL || strcmp(format, "attest-run") != 0) return false;
    fields_from_json(machine_fields, machine, json);
    keep_texts(machine_fields, machine);
    size_t n;
    json_t *item;
    json_array_foreach(json_object_get(json, "devices"), n, item) {
        if (machine->device_count < MACHINE_DEVICES_MAX)
            machine_device_from_json(&machine->devices[machine->device_count++], item);
    }
    return true;
}

/* The next line, or NULL where there is none or it is torn, which is counted. */
static json_t *next_line(struct run_reader *reader, bool *end) {
    const ssize_t bytes = getline(&reader->line, &reader->room, reader->file);
    *end = bytes <= 0;
    if (*end) return NULL;
    reader->at = reader->next;
    reader->next += bytes;
    json_t *json =
        reader->line[bytes - 1] == '\n' ? json_loadb(reader->line, (size_t)bytes, 0, NULL) : NULL;
    if (json == NULL) reader->torn++;
    return json;
}

bool run_open(struct run_reader *reader, const char *path, struct fault *fault) {
    struct stat status;
    const bool folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    *reader = (struct run_reader){0};
    snprintf(reader->path, sizeof reader->path, "%s%s", path, folder ? "/run.jsonl" : "");
    reader->file = regular_open(reader->path);
    if (reader->file == NULL)
        return fault_set(fault, FAULT_INPUT, "cannot open run '%s': %s", reader->path,
                         regular_error(errno));
    json_t *json = NULL;
    for (bool end = false; json == NULL && !end;) json = next_line(reader, &end);
    const bool headed = json != NULL && machine_from_json(&reader->machine, json);
    if (json == NULL)
        fault_set(fault, FAULT_INPUT, "run '%s' holds nothing", reader->path);
    else if (!headed)
        fault_set(fault, FAULT_INPUT, "'%s' does not begin as a run does", reader->path);
    json_decref(json);
    if (!headed) run_close(reader);
    return headed;
}

bool run_next(struct run_reader *reader, struct row *row) {
    for (bool end = false; !end;) {
        json_decref(reader->json);
        reader->json = next_line(reader, &end);
        if (reader->json == NULL) continue;
        if (borrow_row(row, reader->json)) return true;
        reader->torn++;
    }
    return false;
}

bool run_row_at(struct run_reader *reader, int64_t at, struct row *row, struct fault *fault) {
    const int64_t torn = reader->torn;
    if (reader->next != at && fseeko(reader->file, at, SEEK_SET) != 0)
        return fault_set(fault, FAULT_INPUT, "cannot read '%s': %s", reader->path, strerror(errno));
    reader->next = at;
    if (run_next(reader, row) && reader->at == at) return true;
    reader->torn = torn;
    return fault_set(fault, FAULT_INPUT, "'%s' changed while it was read", reader->path);
}

bool run_copy(struct run_reader *reader, int64_t at, FILE *to, struct fault *fault) {
    const bool there = reader->next == at || fseeko(reader->file, at, SEEK_SET) == 0;
    const ssize_t bytes = there ? getline(&reader->line, &reader->room, reader->file) : -1;
    if (bytes <= 0 || reader->line[bytes - 1] != '\n')
        return fault_set(fault, FAULT_INPUT, "'%s' changed while it was read", reader->path);
    reader->next = at + bytes;
    fwrite(reader->line, 1, (size_t)bytes, to);
    return true;
}

void run_close(struct run_reader *reader) {
    json_decref(reader->json);
    if (reader->file != NULL) fclose(reader->file);
    free(reader->line);
    *reader = (struct run_reader){0};
}

static bool run_add(struct run *run, const struct row *row, struct fault *fault) {
    if ((run->count & (run->count + 1)) == 0) { /* 0, 1, 3, 7, ...: room doubles */
        struct row *rows = realloc(run->rows, (size_t)(2 * run->count + 1) * sizeof *run->rows);
        if (rows == NULL) return fault_set(fault, FAULT_OURS, "out of memory for a run's rows");
        run->rows = rows;
    }
    run->rows[run->count] = *row;
    keep_texts(row_fields, &run->rows[run->count++]);
    return true;
}

bool run_read(struct run *run, const char *path, struct fault *fault) {
    struct run_reader reader;
    struct row row;
    *run = (struct run){0};
    bool well = run_open(&reader, path, fault);
    if (!well) return false;
    while (well && run_next(&reader, &row)) well = run_add(run, &row, fault);
    run->machine = reader.machine;
    run->torn = reader.torn;
    run_close(&reader);
    if (!well) run_free(run);
    return well;
}

const struct machine *run_machine_of(const struct run *run, const struct row *row) {
    return run->machines != NULL ? run->machines[row - run->rows] : &run->machine;
}

void run_free(struct run *run) {
    free(run->rows);
    free(run->machines);
    *run = (struct run){0};
}

enum status status_of(const struct row *row) {
    int status = 0;
    while (status < STATUS_COUNT && strcmp(status_name(status), row->status) != 0) status++;
    return status;
}

bool row_is_failure(const struct row *row) {
    const enum status status = status_of(row);
    return status == STATUS_COUNT || status_exit(status) != 0;
}

bool row_is_refused(const struct row *row) {
    return status_of(row) == STATUS_REFUSED;
}

bool row_is_right(const struct row *row) {
    return !row_is_failure(row) && !row_is_refused(row);
}

bool row_is_timed(const struct row *row) {
    return row->warm.n > 0 || row->cold.n > 0;
}

bool row_is_burst(const struct row *row) {
    bool burst;
    regime_find(row->regime, &burst);
    return burst;
}

bool row_has_burst(const struct row *row) {
    return isfinite(row->burst_us) && row->burst_us > 0;
}

bool rows_share_regime(const struct row *a, const struct row *b) {
    return a->regime[0] == '\0' || b->regime[0] == '\0' || !strcmp(a->regime, b->regime);
}

bool row_keeps_lists(const struct row *row) {
    return strstr(row->variant, "sparse") != NULL || strstr(row->variant, "magicpig") != NULL;
}

const struct timing *row_timing(const struct row *row, bool cold) {
    return cold ? &row->cold : &row->warm;
}

bool row_is_judged(const struct row *row) {
    return !row_is_refused(row) && strcmp(row->device, "anchor") != 0;
}
