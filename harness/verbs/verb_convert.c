/* attest convert: fixtures from and to safetensors, for programs that have no HDF5. */
#include "../record/exchange.h"
#include "../report/print.h"
#include "../session/select.h"
#include "../trial/obtain.h"
#include "../verb.h"
#include "../../fixtures/replace.h"
#include "../../oracle/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    int threads;
    const char *paths[2];
    int count;
};

static const struct argp_option argp_options[] = {
    {"threads", 't', "N", 0, "how many threads compute an answer (default: one a core)", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case 't':
        options->threads = (int)verb_count(argument, 1, VERB_THREADS_MAX, "threads", state);
        return 0;
    case ARGP_KEY_ARG:
        if (options->count == 2) argp_error(state, "one file becomes one, not '%s' too", argument);
        options->paths[options->count++] = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->count < 2) argp_error(state, "expected two files, FROM and TO");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "FROM|LINE TO",
    .doc =
        "Makes a fixture file of arrays in safetensors, or safetensors of a fixture: of a file, or "
        "of a problem's line, which is drawn and answered if need be. - is standard input and "
        "output, of safetensors."
        "\vThe arrays have the names of a fixture's datasets, texts of __metadata__ those of its "
        "attributes. The other way there are also answer.out and answer.lse, f64, and answer.rows, "
        "which query rows they are of. The file is there once it makes a fixture.",
};

static bool is_safetensors(const char *path) {
    return !strcmp(path, "-") || text_ends_with(path, ".safetensors");
}

static bool make_fixture(const struct options *options, struct fault *fault) {
    struct tensors tensors;
    struct fixture fixture = {0};
    struct replace replace = {.folder = -1};
    const char *path = options->paths[1];
    bool well =
        tensors_open(&tensors, options->paths[0], fault) && replace_begin(&replace, path, fault);
    if (well) {
        well = exchange_write(&tensors, replace.temporary, fault) &&
               fixture_load(&fixture, verb_program(), replace.temporary, fault);
        if (!well) exchange_rename(fault, replace.temporary, path);
    }
    well = well && replace_commit(&replace, fault);
    replace_abort(&replace);
    tensors_close(&tensors);
    if (well) print_plain(stdout, "%s\n", fixture.line);
    fixture_free(&fixture);
    return well;
}

static bool write_to(const struct tensors *tensors, const char *path, struct fault *fault) {
    FILE *to = strcmp(path, "-") != 0 ? fopen(path, "wbe") : stdout;
    bool well = to != NULL && tensors_write(tensors, to);
    if (to != NULL && to != stdout) well = fclose(to) == 0 && well;
    if (!well && to != stdout && to != NULL) unlink(path);
    return well || fault_set(fault, FAULT_INPUT, "cannot write '%.400s'", path);
}

static bool take_fixture(const struct options *options, struct fault *fault) {
    const char *from = options->paths[0];
    const struct obtain_options how = {.program = verb_program(), .threads = options->threads};
    struct fixture fixture = {0};
    struct tensors tensors;
    if (select_is_line(from) ? !obtain_line(&fixture, from, &how, fault)
                             : !fixture_load(&fixture, verb_program(), from, fault))
        return false;
    exchange_take(&tensors, &fixture);
    const bool well = write_to(&tensors, options->paths[1], fault);
    tensors_close(&tensors);
    fixture_free(&fixture);
    return well;
}

static int convert_run(int argc, char **argv) {
    struct options options = {.count = 0};
    struct fault fault = {0};
    argp_err_exit_status = FAULT_INPUT;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    const bool from = is_safetensors(options.paths[0]), to = is_safetensors(options.paths[1]);
    if (from == to)
        fault_set(&fault, FAULT_INPUT,
                  "'%.400s' and '%.400s': expected one of both to be safetensors", options.paths[0],
                  options.paths[1]);
    else if (from ? make_fixture(&options, &fault) : take_fixture(&options, &fault))
        return 0;
    return fault_tell(&fault);
}

const struct verb verb_convert = {
    .name = "convert",
    .arguments = "FROM TO",
    .summary = "fixtures from and to safetensors",
    .argp = &argp,
    .run = convert_run,
};
