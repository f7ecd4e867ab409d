/* A worker's memory: the parent's, mapped here, tensors that lie elsewhere (views.h), and where on
 * the device all of it is. */
#define _GNU_SOURCE
#include "operations.h"
#include "protocol.h"
#include "../../oracle/rule.h"

#include <string.h>
#include <sys/mman.h>

static int slot_find(const char *name) {
    static const char *const names[] = {
#define ATTN_X(symbol, name) #name,
        ATTN_SLOTS(ATTN_X)
#undef ATTN_X
    };
    for (int slot = 0; name != NULL && slot < ATTN_SLOT_COUNT; slot++) {
        if (!strcmp(names[slot], name)) return slot;
    }
    return -1;
}

static json_t *map_files(struct worker *worker, const json_t *list) {
    size_t n;
    json_t *item;
    json_array_foreach(list, n, item) {
        const size_t bytes = (size_t)json_integer_value(json_object_get(item, "bytes"));
        void *host = n < worker->inbox->file_count ? mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                                          MAP_SHARED, worker->inbox->files[n], 0)
                                                   : MAP_FAILED;
        if (host == MAP_FAILED) return refusal_json("oom", "cannot map the tensors");
        worker->mappings[worker->mapping_count++] = (struct mapping){host, bytes};
    }
    return NULL;
}

/* Where on the device a part of a mapping is, that another tensor may have brought there. */
static struct memory *place(struct worker *worker, unsigned char *host, size_t bytes) {
    for (size_t n = 0; n < worker->memory_count; n++) {
        if (worker->memories[n].host == host) return &worker->memories[n];
    }
    struct memory *memory = &worker->memories[worker->memory_count];
    *memory = (struct memory){.host = host, .bytes = bytes};
    memory->device = worker->device->place(host, bytes > 0 ? bytes : 1);
    if (memory->device == NULL) return NULL;
    worker->memory_count++;
    return memory;
}

/* A tensor at so many bytes of a mapping, and where it is on the device. */
static bool place_tensor(struct worker *worker, enum attn_slot slot, struct attn_tensor tensor,
                         const struct mapping *mapping, size_t at, bool output, bool apart) {
    struct memory *memory = apart ? place(worker, mapping->host + at, span_bytes(&tensor))
                                  : place(worker, mapping->host, mapping->bytes);
    if (memory == NULL) return false;
    memory->output = output;
    tensor.data = memory->device + (apart ? 0 : at);
    tensor.host = output ? NULL : mapping->host + at;
    worker->sides[0].call.tensors[slot] = tensor;
    return true;
}

/* As the problem's layout asks for it: nothing of the parent's memory is on the device then. */
static json_t *map_views(struct worker *worker, const struct attn_tensor *tensors, bool apart) {
    const char *reason = views_make(&worker->views, &worker->problem, tensors);
    bool placed = true;
    for (int n = 0; n < worker->views.count; n++) {
        const struct view *view = &worker->views.view[n];
        struct mapping *mapping = &worker->mappings[worker->mapping_count++];
        *mapping = (struct mapping){view->room, view->bytes};
        placed = placed && place_tensor(worker, view->slot, view->laid, mapping, view->at,
                                        view->output, apart);
    }
    if (reason != NULL) return refusal_json("oom", reason);
    return placed ? NULL : refusal_json("oom", "no room for the tensors");
}

/* Where the parent has it, into `laid` if that is not where the kernel gets it. */
static json_t *map_tensor(struct worker *worker, const json_t *item, bool apart,
                          struct attn_tensor *laid) {
    struct attn_tensor tensor;
    const int slot = slot_find(json_string_value(json_object_get(item, "slot")));
    const int64_t index = json_integer_value(json_object_get(item, "memory"));
    const int64_t offset = json_integer_value(json_object_get(item, "offset"));
    if (slot < 0 || index < 0 || (size_t)index >= worker->mapping_count ||
        !tensor_from_json(&tensor, item) || offset < 0 ||
        (size_t)offset + span_bytes(&tensor) > worker->mappings[index].bytes)
        return refusal_json("error", "map names a tensor that is not in its memory");
    if (laid != NULL) {
        laid[slot] = tensor;
        laid[slot].data = worker->mappings[index].host + offset;
        return NULL;
    }
    const bool output = json_is_true(json_object_get(item, "output"));
    return place_tensor(worker, (enum attn_slot)slot, tensor, &worker->mappings[index],
                        (size_t)offset, output, apart)
               ? NULL
               : refusal_json("oom", "no room for the tensors");
}

json_t *worker_map(struct worker *worker, const json_t *request) {
    size_t n;
    json_t *item;
    const json_t *list = json_object_get(request, "memories");
    const bool apart = json_is_true(json_object_get(request, "apart"));
    const size_t count = json_array_size(list);
    if (worker->device == NULL || worker->mapping_count > 0 || count < 1 || count > INBOX_FILES_MAX)
        return refusal_json("error", "map before load, or twice, or without memories");
    json_t *refusal = map_files(worker, list);
    inbox_close_files(worker->inbox); /* before any of the kernel's code runs */
    struct attn_tensor laid[ATTN_SLOT_ROOM] = {0};
    const bool lays_out = worker->problem.traits & RULE_LAYOUTS;
    json_array_foreach(json_object_get(request, "tensors"), n, item) {
        if (refusal == NULL) refusal = map_tensor(worker, item, apart, lays_out ? laid : NULL);
    }
    if (refusal == NULL && lays_out) refusal = map_views(worker, laid, apart);
    return refusal;
}

/* Where the tensor lies in the parent's memory. */
struct mapping *worker_mapping(struct worker *worker, const struct attn_tensor *tensor) {
    const unsigned char *host = tensor->host;
    for (size_t n = 0; n < worker->mapping_count && host != NULL; n++) {
        struct mapping *mapping = &worker->mappings[n];
        if (host >= mapping->host && host <= mapping->host + mapping->bytes) return mapping;
    }
    return NULL;
}

/* Of tensors that are laid out the parent's are elsewhere, and they are put to their rooms' ends,
 * or back. */
static json_t *place_views(struct worker *worker, const json_t *request) {
    size_t n;
    json_t *item;
    const struct mapping *inputs = &worker->mappings[0];
    json_array_foreach(json_object_get(request, "tensors"), n, item) {
        const int slot = slot_find(json_string_value(json_object_get(item, "slot")));
        const int64_t offset = json_integer_value(json_object_get(item, "offset"));
        if (slot < 0 || offset < 0 || (size_t)offset > inputs->bytes)
            return refusal_json("error", "place names no input, or not in its memory");
        views_move(&worker->views, (enum attn_slot)slot, inputs->host + offset);
    }
    views_place(&worker->views, json_is_true(json_object_get(request, "ends")));
    for (int v = 0; v < worker->views.count; v++) {
        const struct view *view = &worker->views.view[v];
        struct attn_tensor *tensor = &worker->sides[0].call.tensors[view->slot];
        if (view->output) continue;
        const ptrdiff_t way = view->room + view->at - (const unsigned char *)tensor->host;
        tensor->data = (unsigned char *)tensor->data + way;
        tensor->host = view->room + view->at;
    }
    return json_pack("{s:b}", "ok", 1);
}

json_t *worker_place(struct worker *worker, const json_t *request) {
    size_t n;
    json_t *item;
    if (worker->sides[0].prepared)
        return refusal_json("error", "place of a kernel that is prepared");
    if (worker->views.count > 0) return place_views(worker, request);
    json_array_foreach(json_object_get(request, "tensors"), n, item) {
        const int slot = slot_find(json_string_value(json_object_get(item, "slot")));
        const int64_t offset = json_integer_value(json_object_get(item, "offset"));
        struct attn_tensor *tensor = &worker->sides[0].call.tensors[slot < 0 ? ATTN_OUT : slot];
        const struct mapping *mapping = worker_mapping(worker, tensor);
        if (mapping == NULL || offset < 0 || (size_t)offset + span_bytes(tensor) > mapping->bytes)
            return refusal_json("error", "place names no input, or not in its memory");
        const ptrdiff_t way = mapping->host + offset - (const unsigned char *)tensor->host;
        tensor->data = (unsigned char *)tensor->data + way;
        tensor->host = mapping->host + offset;
    }
    return json_pack("{s:b}", "ok", 1);
}

void worker_upload(struct worker *worker, bool outputs) {
    views_bring(&worker->views, outputs);
    for (size_t n = 0; n < worker->memory_count; n++) {
        const struct memory *memory = &worker->memories[n];
        if (memory->output == outputs)
            worker->device->upload(memory->device, memory->host, memory->bytes);
    }
}

const char *worker_download(struct worker *worker, bool outputs) {
    for (size_t n = 0; n < worker->memory_count; n++) {
        const struct memory *memory = &worker->memories[n];
        if (memory->output == outputs)
            worker->device->download(memory->host, memory->device, memory->bytes);
    }
    return views_return(&worker->views, outputs);
}

/* What the gaps of inputs hold from now on: a word of struct problem's poisons, "none" if nothing
 * is told. */
void worker_choose_gaps(struct worker *worker, const json_t *request) {
    struct views *views = &worker->views;
    static const char *const words[] = {"none", "nan", "inf", "big"};
    const char *gaps = json_string_value(json_object_get(request, "gaps"));
    const int around = slot_find(json_string_value(json_object_get(request, "nan_around")));
    views->gaps = POISON_NONE;
    for (int n = POISON_NONE; gaps != NULL && n <= POISON_BIG; n++) {
        if (!strcmp(gaps, words[n])) views->gaps = (enum poison)n;
    }
    views->nan_around = around < 0 ? ATTN_SLOT_COUNT : (enum attn_slot)around;
}
