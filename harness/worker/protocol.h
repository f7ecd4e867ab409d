/* What parent and worker say to each other, as JSON: the descriptions of a kernel and of a problem,
 * both ways. Names, not numbers, so that a worker in another language needs no copy of attn.h's
 * enums. The conversation itself is written down at the head of worker.c. */
#ifndef ATTEST_PROTOCOL_H
#define ATTEST_PROTOCOL_H

#include "../../kernels/attn.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

enum { PROTOCOL_VERSION = 3 };
/* With this a worker ends whose input or output is no longer what it was given. */
enum { EXIT_ROBBED = 76 };
/* The text that a request brings and its answer repeats: 16 random bytes in hexadecimal. */
enum { NONCE_BYTES = 33 };

json_t *problem_to_json(const struct attn_problem *problem);
bool problem_from_json(struct attn_problem *problem, const json_t *json);

json_t *kernel_to_json(const struct attn_kernel *kernel);
/* Function pointers stay NULL; kernel->name and ->change point into `json`. */
bool kernel_from_json(struct attn_kernel *kernel, const json_t *json);

/* A tensor's dtype, shape and stride; where it lies is the caller's to say. */
json_t *tensor_to_json(const struct attn_tensor *tensor);
bool tensor_from_json(struct attn_tensor *tensor, const json_t *json);

json_t *real_or_null(double x); /* null: not finite */
/* Any text as a JSON string, which has to be UTF-8: another byte is written \xff. */
json_t *text_to_json(const char *text);
/* A path, which has to be found again: also, a backslash is written twice. */
json_t *path_to_json(const char *path);
/* The bytes of what path_to_json wrote; strlen(text) + 1 at most. */
void path_from_text(char *path, const char *text);
/* NULL unless it is a path that the system takes. */
const char *path_from_json(const json_t *json, char path[PATH_MAX]);

const char *device_name(enum attn_device device);
/* {"ok": false, "what": what, "text": text} */
json_t *refusal_json(const char *what, const char *text);
/* The same of a text that says what failed: "oom" where it is about memory, else "error". */
json_t *failure_json(const char *text);

#endif
