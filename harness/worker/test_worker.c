/* The conversation with a worker, also when one side does not keep to it. */
#include "protocol.h"
#include "../trial/client.h"
#include "../verb.h"
#include "../../fixtures/problem.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct client start(void) {
    struct client client;
    struct fault fault = {0};
    cr_assert(client_start(&client, verb_program(), NULL, &fault), "%s", fault.text);
    return client;
}

/* Sends a request that the worker must decline, and survive; a file goes with it if not -1. */
static void declined_with(struct client *client, const char *request, int file, const char *text) {
    json_t *reply = client_ask_with(client, json_loads(request, 0, NULL), &file, file >= 0, 20);
    cr_assert(reply != NULL, "%s: %s", request, client->how);
    cr_assert(json_is_false(json_object_get(reply, "ok")), "%s", request);
    const char *reason = json_string_value(json_object_get(reply, "text"));
    cr_assert(reason != NULL && strstr(reason, text) != NULL, "%s: %s", request, reason);
    json_decref(reply);
}

static void declined(struct client *client, const char *request, const char *text) {
    declined_with(client, request, -1, text);
}

static json_t *load_request(const char *kernel) {
    struct problem problem;
    struct fault fault = {0};
    char path[4400];
    cr_assert(problem_parse(&problem, "f32-b1-hq1-kv1-d8-normal-seed1", &fault), "%s", fault.text);
    snprintf(path, sizeof path, "%s/cpu/%s.so", verb_kernels(), kernel);
    return json_pack("{s:s, s:s, s:o, s:i}", "op", "load", "library", path, "problem",
                     problem_to_json(&problem.attn), "threads", 1);
}

Test(worker, declines_what_it_does_not_understand) {
    struct client client = start();
    declined(&client, "{\"op\": \"dance\"}", "no such operation");
    declined(&client, "{}", "no such operation");
    declined(&client, "{\"op\": \"describe\"}", "without library");
    declined(&client, "{\"op\": \"describe\", \"library\": \"/etc/passwd\"}", "/etc/passwd");
    declined(&client, "{\"op\": \"load\", \"library\": \"/x\"}", "whole problem");
    client_stop(&client);
    cr_assert(client.end == CLIENT_DIED && !strcmp(client.how, "exit status 0"), "%s", client.how);
    client_stop(&client); /* twice is harmless */
}

Test(worker, keeps_the_order_of_things) {
    struct client client = start();
    declined(&client, "{\"op\": \"map\"}", "before load");
    declined(&client, "{\"op\": \"prepare\"}", "before load");
    declined(&client, "{\"op\": \"launch\"}", "before prepare");
    declined(&client, "{\"op\": \"time\"}", "before prepare");
    client_stop(&client);
}

Test(worker, takes_no_tensor_that_is_not_in_its_memory) {
    static const struct {
        const char *offset, *stride, *slot;
    } wrong[] = {{"4090", "1", "q"}, {"-4", "1", "q"}, {"0", "1000", "q"}, {"0", "1", "nose"}};
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        struct client client;
        struct fault fault = {0};
        char request[512];
        FILE *memory = tmpfile();
        cr_assert(memory != NULL && ftruncate(fileno(memory), 4096) == 0);
        cr_assert(client_start(&client, verb_program(), NULL, &fault), "%s", fault.text);
        json_t *reply = client_ask(&client, load_request("decode_naive_r1"), 20);
        cr_assert(json_is_true(json_object_get(reply, "ok")));
        json_decref(reply);
        snprintf(request, sizeof request,
                 "{\"op\": \"map\", \"memories\": [{\"bytes\": 4096}], \"tensors\": "
                 "[{\"slot\": \"%s\", \"memory\": 0, \"offset\": %s, \"dtype\": \"f32\", "
                 "\"shape\": [8], \"stride\": [%s], \"output\": false}]}",
                 wrong[n].slot, wrong[n].offset, wrong[n].stride);
        declined_with(&client, request, fileno(memory), "not in its memory");
        client_stop(&client);
        fclose(memory);
    }
}

/* Tensors of a problem with all sizes 1 and head dim 8, at the beginning of three pages. */
static json_t *map_request(void) {
    static const struct {
        const char *slot;
        int offset, memory;
    } tensors[] = {{"q", 0, 0}, {"k", 4096, 0}, {"v", 8192, 0}, {"out", 0, 1}, {"lse", 4096, 1}};
    json_t *list = json_array();
    for (size_t n = 0; n < sizeof tensors / sizeof tensors[0]; n++)
        json_array_append_new(list,
                              json_pack("{s:s, s:i, s:i, s:s, s:[i,i,i,i], s:[i,i,i,i], s:b}",
                                        "slot", tensors[n].slot, "memory", tensors[n].memory,
                                        "offset", tensors[n].offset, "dtype", "f32", "shape", 1, 1,
                                        1, 8, "stride", 8, 8, 8, 1, "output", tensors[n].memory));
    return json_pack("{s:s, s:[{s:i}, {s:i}], s:o}", "op", "map", "memories", "bytes", 12288,
                     "bytes", 8192, "tensors", list);
}

/* What map_request maps. */
static void open_memories(FILE *memories[2], int files[2]) {
    static const off_t bytes[] = {12288, 8192};
    for (int n = 0; n < 2; n++) {
        memories[n] = tmpfile();
        files[n] = fileno(memories[n]);
        cr_assert(ftruncate(files[n], bytes[n]) == 0);
    }
}

Test(worker, takes_other_kernels_on_the_tensors_of_the_first) {
    struct client client = start();
    char request[4600];
    FILE *memories[2];
    int files[2];
    open_memories(memories, files);
    snprintf(request, sizeof request,
             "{\"op\": \"load\", \"side\": 1, \"library\": \"%s/cpu/decode_flash_r1.so\"}",
             verb_kernels());
    declined(&client, request, "before map");
    declined(&client, "{\"op\": \"load\", \"side\": 4, \"library\": \"/x\"}", "no such side");
    json_decref(client_ask(&client, load_request("decode_naive_r1"), 20));
    json_decref(client_ask_with(&client, map_request(), files, 2, 20));
    declined(&client, "{\"op\": \"prepare\", \"side\": 1}", "before load");
    declined(&client, "{\"op\": \"load\", \"side\": 1, \"library\": \"/etc/passwd\"}",
             "/etc/passwd");
    json_t *reply = client_ask(&client, json_loads(request, 0, NULL), 20);
    cr_assert(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    declined(&client, request, "twice");
    for (int side = 2; side < 4; side++) {
        snprintf(request, sizeof request,
                 "{\"op\": \"load\", \"side\": %d, \"library\": \"%s/cpu/decode_naive_r1.so\"}",
                 side, verb_kernels());
        reply = client_ask(&client, json_loads(request, 0, NULL), 20);
        cr_assert(json_is_true(json_object_get(reply, "ok")));
        json_decref(reply);
    }
    declined(&client, "{\"op\": \"race\", \"rounds_max\": 0}", "rounds_max must be in");
    declined(&client, "{\"op\": \"race\", \"rounds_max\": 9}", "a race of one");
    declined(&client, "{\"op\": \"expect\", \"side\": 1}", "before prepare");
    declined(&client, "{\"op\": \"furthest\", \"side\": 1}", "nothing differed");
    reply = client_ask(&client, json_loads("{\"op\": \"prepare\", \"side\": 1}", 0, NULL), 20);
    cr_assert(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    declined(&client, "{\"op\": \"load\", \"side\": 2, \"library\": \"/x\"}", "or twice");
    declined(&client, "{\"op\": \"expect\", \"side\": 1}", "nothing of it is told");
    declined(&client, "{\"op\": \"expect\", \"side\": 1}", "twice");
    declined(&client, "{\"op\": \"time\", \"side\": 1, \"samples_max\": 1}", "before prepare");
    declined(&client, "{\"op\": \"launch\"}", "before prepare");
    client_stop(&client);
    fclose(memories[0]);
    fclose(memories[1]);
}

/* What it needs of scratch may be more, and the others' would be elsewhere. */
Test(worker, takes_no_other_kernel_beside_one_that_is_prepared) {
    struct client client = start();
    FILE *memories[2];
    int files[2];
    open_memories(memories, files);
    json_decref(client_ask(&client, load_request("decode_naive_r1"), 20));
    json_decref(client_ask_with(&client, map_request(), files, 2, 20));
    json_decref(client_ask(&client, json_loads("{\"op\": \"prepare\"}", 0, NULL), 20));
    declined(&client, "{\"op\": \"load\", \"side\": 1, \"library\": \"/x\"}", "that is prepared");
    client_stop(&client);
    fclose(memories[0]);
    fclose(memories[1]);
}

Test(worker, moves_inputs_within_their_memory_and_protects_what_has_pages_around_it) {
    struct client client = start();
    FILE *memories[2];
    int files[2];
    open_memories(memories, files);
    json_decref(client_ask(&client, load_request("decode_naive_r1"), 20));
    json_t *reply = client_ask_with(&client, map_request(), files, 2, 20);
    cr_assert(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    declined(&client, "{\"op\": \"place\", \"tensors\": [{\"slot\": \"q\", \"offset\": 12260}]}",
             "not in its memory");
    declined(&client, "{\"op\": \"place\", \"tensors\": [{\"slot\": \"q\", \"offset\": -4}]}",
             "not in its memory");
    declined(&client, "{\"op\": \"place\", \"tensors\": [{\"slot\": \"out\", \"offset\": 0}]}",
             "no input");
    declined(&client, "{\"op\": \"place\", \"tensors\": [{\"slot\": \"nose\", \"offset\": 0}]}",
             "no input");
    reply = client_ask(&client,
                       json_loads("{\"op\": \"place\", \"tensors\": [{\"slot\": \"q\", "
                                  "\"offset\": 12256}]}",
                                  0, NULL),
                       20);
    cr_assert(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    json_decref(client_ask(&client, json_pack("{s:s}", "op", "prepare"), 20));
    declined(&client, "{\"op\": \"launch\", \"edges\": true}", "no pages can be protected");
    declined(&client, "{\"op\": \"place\", \"tensors\": []}", "is prepared");
    reply = client_ask(&client, json_pack("{s:s}", "op", "launch"), 20);
    cr_assert(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    client_stop(&client);
    fclose(memories[0]);
    fclose(memories[1]);
}

Test(worker, maps_no_memory_whose_file_did_not_come) {
    struct client client = start();
    json_decref(client_ask(&client, load_request("decode_naive_r1"), 20));
    declined(&client, "{\"op\": \"map\", \"memories\": [{\"bytes\": 4096}], \"tensors\": []}",
             "cannot map");
    client_stop(&client);
}

Test(worker, gives_everything_back_and_loads_again) {
    struct client client = start();
    FILE *memory = tmpfile();
    const int file = fileno(memory);
    cr_assert(ftruncate(file, 4096) == 0);
    for (int n = 0; n < 3; n++) {
        json_t *reply = client_ask(&client, load_request("decode_naive_r1"), 20);
        cr_assert(json_is_true(json_object_get(reply, "ok")));
        json_decref(reply);
        reply = client_ask_with(
            &client,
            json_pack("{s:s, s:[{s:i}], s:[]}", "op", "map", "memories", "bytes", 4096, "tensors"),
            &file, 1, 20);
        cr_assert(json_is_true(json_object_get(reply, "ok")));
        json_decref(reply);
        declined_with(&client, "{\"op\": \"load\"}", -1, "whole problem");
        reply = client_ask(&client, json_pack("{s:s}", "op", "unload"), 20);
        cr_assert(json_is_true(json_object_get(reply, "ok")));
        json_decref(reply);
    }
    fclose(memory);
    client_stop(&client);
}

Test(worker, that_does_not_answer_in_time_is_ended) {
    struct client client = start();
    kill(client.pid, SIGSTOP);
    cr_assert(client_ask(&client, json_pack("{s:s}", "op", "hello"), 0.2) == NULL);
    cr_assert(client.end == CLIENT_HUNG && client.pid == 0);
    cr_assert(strstr(client.how, "0.2 s") != NULL, "%s", client.how);
    cr_assert(client_ask(&client, json_pack("{s:s}", "op", "hello"), 1) == NULL);
    client_stop(&client);
}

Test(worker, that_dies_is_told_by_its_signal) {
    struct client client = start();
    kill(client.pid, SIGTERM);
    cr_assert(client_ask(&client, json_pack("{s:s}", "op", "hello"), 20) == NULL);
    cr_assert(client.end == CLIENT_DIED && client.signal == SIGTERM);
    cr_assert(!strcmp(client.how, "SIGTERM"), "%s", client.how);
    client_stop(&client);
}

Test(worker, repeats_the_nonce_of_each_request_and_answers_nothing_else) {
    struct client client = start();
    for (int n = 0; n < 2; n++) {
        json_t *reply = client_ask(&client, json_pack("{s:s}", "op", "hello"), 20);
        cr_assert(strlen(json_string_value(json_object_get(reply, "nonce"))) == NONCE_BYTES - 1);
        json_decref(reply);
    }
    /* Asked with a nonce of somebody else's beside, the worker answers both: one is foreign. */
    const char foreign[] = "{\"op\": \"hello\", \"nonce\": \"guessed\"}\n";
    cr_assert(write(client.socket, foreign, strlen(foreign)) > 0);
    cr_assert(client_ask(&client, json_pack("{s:s}", "op", "hello"), 20) == NULL);
    cr_assert(client.end == CLIENT_DIED && strstr(client.how, "not the protocol's") != NULL, "%s",
              client.how);
    client_stop(&client);
}

Test(worker, loads_no_library_for_another_device_than_it_was_told) {
    struct client client = start();
    json_t *request = load_request("decode_naive_r1");
    json_object_set_new(request, "device", json_string("twin"));
    json_t *reply = client_ask(&client, request, 20);
    cr_assert(json_is_false(json_object_get(reply, "ok")));
    cr_assert_str_eq(json_string_value(json_object_get(reply, "text")),
                     "the library is for another device than was said");
    json_decref(reply);
    client_stop(&client);
}

Test(protocol, kernels_and_problems_survive_the_way) {
    const struct attn_kernel kernel = {.abi = ATTN_ABI,
                                       .bytes = sizeof kernel,
                                       .device = ATTN_CUDA,
                                       .variant = ATTN_SPARSE_DECODE_PAGED,
                                       .name = "flash",
                                       .revision = 7,
                                       .grade = 'B',
                                       .change = "tries \"this\"",
                                       .traits = ATTN_GQA | ATTN_KEEP | ATTN_MAGICPIG,
                                       .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
                                       .p_dtype = ATTN_BF16,
                                       .flags = ATTN_WRITES_LSE | ATTN_NONDETERMINISTIC |
                                                ATTN_LSE_BASE_2,
                                       .head_dim_max = 192,
                                       .lse_grade = 'B'};
    struct attn_kernel back;
    json_t *json = kernel_to_json(&kernel);
    cr_assert(kernel_from_json(&back, json));
    cr_assert(!strcmp(back.name, kernel.name) && !strcmp(back.change, kernel.change));
    back.name = kernel.name;
    back.change = kernel.change;
    cr_assert(memcmp(&back, &kernel, sizeof kernel) == 0);
    json_object_set_new(json, "device", json_string("abacus"));
    cr_assert(!kernel_from_json(&back, json));
    json_decref(json);

    struct problem problem;
    struct attn_problem there;
    struct fault fault = {0};
    cr_assert(problem_parse(&problem,
                            "bf16-b2-hq8-hkv2-kv300-d128-page64-lens300,129-keep32-magicpig-scale"
                            "0.3-normal-seed1",
                            &fault),
              "%s", fault.text);
    json = problem_to_json(&problem.attn);
    cr_assert(problem_from_json(&there, json));
    problem.attn.abi = ATTN_ABI;
    cr_assert(memcmp(&there, &problem.attn, sizeof there) == 0);
    json_object_del(json, "head_dim");
    cr_assert(!problem_from_json(&there, json));
    json_decref(json);
}
