#define _GNU_SOURCE /* mremap */
#include "tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than any header that says what few arrays are. */
enum { HEADER_MAX = 1 << 20, PIECE = 1 << 20 };
static const int64_t elements_max = (int64_t)1 << 40;

static const struct {
    const char *name;
    enum store_type type;
} types[] = {
    {"F64", STORE_F64}, {"F32", STORE_F32}, {"F16", STORE_F16}, {"BF16", STORE_BF16},
    {"I64", STORE_I64}, {"I32", STORE_I32}, {"I16", STORE_I16}, {"U16", STORE_U16},
    {"U8", STORE_U8},   {"I8", STORE_I8},   {"BOOL", STORE_U8}, {"F8_E4M3", STORE_U8},
};
enum { TYPES = sizeof types / sizeof types[0] };

static bool wrong(struct fault *fault, const char *path, const char *what) {
    return fault_set(fault, FAULT_INPUT, "'%.400s' is no safetensors file: %s", path, what);
}

static bool map_file(struct tensors *tensors, const char *path, struct fault *fault) {
    struct stat status;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return fault_set(fault, FAULT_INPUT, "cannot open '%.400s': %s", path, strerror(errno));
    const bool regular = fstat(file, &status) == 0 && S_ISREG(status.st_mode);
    void *memory = regular && status.st_size > 0
                       ? mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0)
                       : MAP_FAILED;
    close(file);
    if (memory == MAP_FAILED)
        return wrong(fault, path, regular ? "it is empty, or cannot be mapped" : "no regular file");
    tensors->memory = memory;
    tensors->memory_bytes = tensors->mapped_bytes = (size_t)status.st_size;
    return true;
}

/* What comes through a pipe, in memory that is given back as a file's is. */
static bool read_input(struct tensors *tensors, struct fault *fault) {
    size_t room = 16 * (size_t)PIECE, used = 0;
    unsigned char *memory =
        mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ssize_t n = 1;
    for (; memory != MAP_FAILED && n > 0; used += n > 0 ? (size_t)n : 0) {
        if (room - used < PIECE) {
            memory = mremap(memory, room, 2 * room, MREMAP_MAYMOVE);
            room *= 2;
            if (memory == MAP_FAILED) break;
        }
        while ((n = read(STDIN_FILENO, memory + used, PIECE)) < 0 && errno == EINTR) continue;
    }
    if (memory == MAP_FAILED) return fault_set(fault, FAULT_OURS, "out of memory for arrays");
    tensors->memory = memory;
    tensors->memory_bytes = used;
    tensors->mapped_bytes = room;
    return n == 0 ||
           fault_set(fault, FAULT_INPUT, "cannot read standard input: %s", strerror(errno));
}

static bool read_shape(struct store_array *array, const json_t *shape, int64_t *elements) {
    size_t n;
    const json_t *size;
    *elements = 1;
    array->rank = (int)json_array_size(shape);
    if (!json_is_array(shape) || array->rank > STORE_RANK_MAX) return false;
    json_array_foreach(shape, n, size) {
        array->shape[n] = json_integer_value(size);
        if (!json_is_integer(size) || array->shape[n] < 0 || array->shape[n] > elements_max ||
            (array->shape[n] > 0 && *elements > elements_max / array->shape[n]))
            return false;
        *elements *= array->shape[n];
    }
    return true;
}

static bool read_entry(struct tensors *tensors, const char *path, const char *name,
                       const json_t *json, size_t begin, size_t bytes, struct fault *fault) {
    char what[256];
    struct tensors_entry *entry = &tensors->entries[tensors->count];
    const char *type = json_string_value(json_object_get(json, "dtype"));
    const json_t *offsets = json_object_get(json, "data_offsets");
    const int64_t from = json_integer_value(json_array_get(offsets, 0));
    const int64_t to = json_integer_value(json_array_get(offsets, 1));
    int64_t elements;
    snprintf(what, sizeof what, "'%.60s' has no dtype, shape of at most 5 and data_offsets", name);
    if (strlen(name) >= sizeof entry->name || type == NULL || json_array_size(offsets) != 2 ||
        !read_shape(&entry->array, json_object_get(json, "shape"), &elements))
        return wrong(fault, path, what);
    snprintf(entry->name, sizeof entry->name, "%s", name);
    snprintf(entry->array.type_text, sizeof entry->array.type_text, "%s", type);
    for (int n = 0; n < TYPES; n++)
        if (!strcmp(type, types[n].name)) entry->array.type = types[n].type;
    snprintf(what, sizeof what, "'%.60s' lies at %lld to %lld of %zu bytes", name, (long long)from,
             (long long)to, bytes);
    if (from < 0 || to < from || (uint64_t)to > bytes) return wrong(fault, path, what);
    entry->bytes = to - from;
    entry->data = tensors->memory + begin + from;
    const int64_t needed = elements * store_type_bytes(entry->array.type);
    snprintf(what, sizeof what, "'%.60s' has %lld bytes, its type and shape need %lld", name,
             (long long)entry->bytes, (long long)needed);
    if (entry->array.type != STORE_OTHER && needed != entry->bytes) return wrong(fault, path, what);
    tensors->count++;
    return true;
}

static bool read_all(struct tensors *tensors, const char *path, struct fault *fault) {
    uint64_t length;
    json_error_t error;
    const char *name;
    json_t *one;
    if (tensors->memory_bytes < sizeof length)
        return wrong(fault, path, "it is shorter than its first number");
    memcpy(&length, tensors->memory, sizeof length);
    if (length > HEADER_MAX || length > tensors->memory_bytes - sizeof length)
        return wrong(fault, path, "its header is longer than it, or than 1 MiB");
    json_t *header = json_loadb((const char *)tensors->memory + sizeof length, (size_t)length,
                                JSON_REJECT_DUPLICATES, &error);
    const size_t begin = sizeof length + (size_t)length;
    bool well = json_is_object(header) || wrong(fault, path, "its header is no JSON object");
    json_object_foreach(header, name, one) {
        if (!well) break;
        if (!strcmp(name, "__metadata__"))
            tensors->metadata = json_incref(one);
        else
            well =
                (tensors->count < TENSORS_MAX || wrong(fault, path, "it has over 64 arrays")) &&
                read_entry(tensors, path, name, one, begin, tensors->memory_bytes - begin, fault);
    }
    json_decref(header);
    return well;
}

bool tensors_open(struct tensors *tensors, const char *path, struct fault *fault) {
    *tensors = (struct tensors){.count = 0};
    return (strcmp(path, "-") != 0 ? map_file(tensors, path, fault) : read_input(tensors, fault)) &&
           read_all(tensors, path, fault);
}

void tensors_close(struct tensors *tensors) {
    if (tensors->memory != NULL) munmap(tensors->memory, tensors->mapped_bytes);
    json_decref(tensors->metadata);
    *tensors = (struct tensors){.count = 0};
}

const struct tensors_entry *tensors_find(const struct tensors *tensors, const char *name) {
    for (int n = 0; n < tensors->count; n++)
        if (!strcmp(tensors->entries[n].name, name)) return &tensors->entries[n];
    return NULL;
}

const char *tensors_text(const struct tensors *tensors, const char *name) {
    return json_string_value(json_object_get(tensors->metadata, name));
}

bool tensors_add(struct tensors *tensors, const char *name, const struct store_array *array,
                 const void *data) {
    if (tensors->count == TENSORS_MAX || array->type == STORE_OTHER) return false;
    struct tensors_entry *entry = &tensors->entries[tensors->count++];
    *entry = (struct tensors_entry){.array = *array, .data = data};
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->bytes = store_type_bytes(array->type);
    for (int n = 0; n < array->rank; n++) entry->bytes *= array->shape[n];
    return true;
}

static const char *type_name(enum store_type type) {
    for (int n = 0; n < TYPES; n++)
        if (types[n].type == type) return types[n].name;
    return "";
}

bool tensors_write(const struct tensors *tensors, FILE *to) {
    json_t *header = json_object();
    int64_t at = 0;
    if (tensors->metadata != NULL) json_object_set(header, "__metadata__", tensors->metadata);
    for (int n = 0; n < tensors->count; n++) {
        const struct tensors_entry *entry = &tensors->entries[n];
        const int64_t end = at + entry->bytes;
        json_t *shape = json_array();
        for (int i = 0; i < entry->array.rank; i++)
            json_array_append_new(shape, json_integer(entry->array.shape[i]));
        json_object_set_new(header, entry->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", type_name(entry->array.type),
                                      "shape", shape, "data_offsets", (json_int_t)at,
                                      (json_int_t)end));
        at = end;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    if (text == NULL) return false;
    const uint64_t length = strlen(text);
    bool well = fwrite(&length, sizeof length, 1, to) == 1 && fwrite(text, 1, length, to) == length;
    free(text);
    for (int n = 0; n < tensors->count && well; n++) {
        const size_t bytes = (size_t)tensors->entries[n].bytes;
        well = bytes == 0 || fwrite(tensors->entries[n].data, 1, bytes, to) == bytes;
    }
    return fflush(to) == 0 && well;
}
