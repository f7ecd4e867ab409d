/* Named arrays as programs in Python hand them on: safetensors. Eight bytes, the length of a JSON
 * object, little-endian; the object, which has for each array its type, shape and place in what
 * follows, and texts under "__metadata__"; the arrays, dense, row-major, little-endian.
 * (https://github.com/huggingface/safetensors, "Format".) Nothing in a file is trusted. */
#ifndef ATTEST_TENSORS_H
#define ATTEST_TENSORS_H

#include "../../fixtures/store.h"

#include <jansson.h>

enum { TENSORS_MAX = 64 };
struct tensors_entry {
    char name[STORE_NAME_BYTES];
    struct store_array
        array; /* STORE_OTHER: of a type that we have none for; type_text says which */
    int64_t bytes;
    const void *data; /* of a file that was read: within it, at any alignment */
};
struct tensors {
    struct tensors_entry entries[TENSORS_MAX];
    int count;
    json_t *metadata; /* an object of texts; NULL: none */
    unsigned char *memory;
    size_t memory_bytes, mapped_bytes;
};

/* `path` "-" is standard input. The caller closes it, also where it could not be read. */
bool tensors_open(struct tensors *tensors, const char *path, struct fault *fault);
void tensors_close(struct tensors *tensors);
/* NULL: there is none of that name. */
const struct tensors_entry *tensors_find(const struct tensors *tensors, const char *name);
/* A text of the metadata, NULL if there is none. */
const char *tensors_text(const struct tensors *tensors, const char *name);

/* Arrays of a file to be: each from `data`, dense. False where one of its type cannot be written or
 * there are too many. */
bool tensors_add(struct tensors *tensors, const char *name, const struct store_array *array,
                 const void *data);
bool tensors_write(const struct tensors *tensors, FILE *to);

#endif
