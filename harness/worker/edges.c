/* Pages are protected with mprotect; a fault is told from others by its address, and by its code,
 * which is that of memory that is there and may not be touched. The handler runs on whichever
 * thread faults: it calls nothing that is not safe there, makes its answer by hand and ends the
 * process.
 */
#define _GNU_SOURCE /* REG_ERR */
#include "edges.h"
#include "../../fixtures/problem.h"
#include "../../kernels/attn_number.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static struct {
    struct edge edges[ATTN_SLOT_ROOM];
    size_t count;
    int answer;
    const char *nonce;
    struct sigaction before;
} raised;

static uintptr_t begin_of(const struct edge *edge) {
    return (uintptr_t)edge->tensor->data;
}

/* The pages that it lies in: of an empty one, none. */
static unsigned char *first_page(const struct edge *edge) {
    return (unsigned char *)edge->tensor->data - begin_of(edge) % EDGES_PAGE_BYTES;
}

static size_t page_bytes(const struct edge *edge) {
    const size_t bytes = begin_of(edge) % EDGES_PAGE_BYTES + edge->bytes;
    return (bytes + EDGES_PAGE_BYTES - 1) / EDGES_PAGE_BYTES * EDGES_PAGE_BYTES;
}

/* The answer, made by hand */

struct line {
    char text[512];
    size_t used;
};

static void add(struct line *line, const char *text) {
    while (*text != '\0' && line->used < sizeof line->text) line->text[line->used++] = *text++;
}

static void add_number(struct line *line, uintptr_t number) {
    char digits[24];
    size_t n = sizeof digits - 1;
    digits[n] = '\0';
    do digits[--n] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    add(line, digits + n);
}

/* What the axes of a tensor count: attn.h. */
static const char *const axes[ATTN_SLOT_COUNT][5] = {
    [ATTN_Q] = {"b", "h", "i", "d"},
    [ATTN_K] = {"b", "g", "j", "d"},
    [ATTN_V] = {"b", "g", "j", "d"},
    [ATTN_KV_CACHE] = {"page", "kv", "g", "row", "d"},
    [ATTN_KV_PAGE_INDPTR] = {"b"},
    [ATTN_KV_PAGE_INDICES] = {"n"},
    [ATTN_KV_LAST_PAGE_LEN] = {"b"},
    [ATTN_SEQ_LENS] = {"b"},
    [ATTN_SPARSE_IND] = {"b", "h", "n"},
    [ATTN_SPARSE_NNZ] = {"b", "h"},
    [ATTN_SPARSE_MASK] = {"b", "h", "j"},
    [ATTN_LSH_K] = {"b", "h"},
    [ATTN_LSH_L] = {"b", "h"},
    [ATTN_SINKS] = {"h"},
    [ATTN_Q_LENS] = {"b"},
    [ATTN_SLOPES] = {"h"},
    [ATTN_BIAS] = {"b", "h", "i", "j"},
    [ATTN_K_SCALE] = {"block", "g", "row"}, /* or g alone */
    [ATTN_V_SCALE] = {"block", "g", "row"},
    [ATTN_CU_SEQLENS_Q] = {"b"},
    [ATTN_CU_SEQLENS_KV] = {"b"},
};

/* Of keys and values that have pages of their own. */
static const char *const axes_of_pages[] = {"page", "g", "row", "d"};
/* Of sequences one behind another. */
static const char *const axes_of_tokens[] = {"token", "h", "d"};

/* Of lists for each query; those that query heads share are a kv head's, and say h all the same. */
static const char *const axes_of_lists[] = {"b", "h", "i", "n"};
static const char *const axes_of_masks[] = {"b", "h", "i", "j"};

static const char *const *axes_of(const struct edge *edge) {
    const enum attn_slot slot = edge->slot;
    const bool scale = slot == ATTN_K_SCALE || slot == ATTN_V_SCALE;
    if (scale) return axes[slot] + (edge->tensor->rank == 1);
    const bool large = slot == ATTN_Q || slot == ATTN_K || slot == ATTN_V;
    if (large && edge->tensor->rank == 3) return axes_of_tokens;
    if (slot == ATTN_SPARSE_IND && edge->tensor->rank == 4) return axes_of_lists;
    if (slot == ATTN_SPARSE_NNZ && edge->tensor->rank == 3) return axes_of_lists;
    if (slot == ATTN_SPARSE_MASK && edge->tensor->rank == 4) return axes_of_masks;
    if (slot != ATTN_K && slot != ATTN_V) return axes[slot];
    for (size_t n = 0; n < raised.count; n++)
        if (raised.edges[n].slot == ATTN_KV_PAGE_INDPTR) return axes_of_pages;
    return axes[slot];
}

static void add_element(struct line *line, const struct edge *edge, uintptr_t byte) {
    const struct attn_tensor *tensor = edge->tensor;
    int64_t rest = (int64_t)byte / attn_dtype_bytes(tensor->dtype), index[5] = {0};
    bool seen[5] = {false}, between = false;
    if (edge->bytes == 0) return;
    for (int n = 0; n < tensor->rank; n++) { /* the axes by their strides, the largest first */
        int axis = 0;
        while (axis < 4 && seen[axis]) axis++;
        for (int other = axis + 1; other < tensor->rank; other++) {
            if (!seen[other] && tensor->stride[other] > tensor->stride[axis]) axis = other;
        }
        seen[axis] = true;
        if (tensor->shape[axis] <= 1) continue;
        index[axis] = rest / tensor->stride[axis];
        if (index[axis] >= tensor->shape[axis]) {
            index[axis] = tensor->shape[axis] - 1;
            between = true;
        }
        rest -= index[axis] * tensor->stride[axis];
        if (between) rest = 0;
    }
    if (between) add(line, " the gap behind");
    for (int axis = 0; axis < tensor->rank; axis++) {
        add(line, " ");
        add(line, axes_of(edge)[axis]);
        add(line, "=");
        add_number(line, (uintptr_t)index[axis]);
    }
}

static void describe(struct line *line, const struct edge *edge, uintptr_t at, bool writes) {
    const uintptr_t begin = begin_of(edge), end = begin + edge->bytes;
    const bool inside = at >= begin && at < end;
    add(line, inside ? "FAIL_INPUT_CHANGED: " : writes ? "FAIL_OOB_WRITE: " : "FAIL_OOB_READ: ");
    add(line, writes ? "writes" : "reads");
    if (inside) {
        add(line, " to ");
        add(line, slot_name(edge->slot));
        add(line, ", at");
        add_element(line, edge, at - begin);
        return;
    }
    add(line, " byte ");
    add_number(line, at < begin ? begin - at : at - end + 1);
    add(line, at < begin ? " before the beginning of " : " past the end of ");
    add(line, slot_name(edge->slot));
    if (at < begin || edge->bytes == 0) return;
    add(line, ", behind");
    add_element(line, edge, edge->bytes - 1);
}

static _Noreturn void tell(const struct edge *edge, uintptr_t at, bool writes) {
    static atomic_flag told = ATOMIC_FLAG_INIT;
    static struct line line;
    while (atomic_flag_test_and_set(&told)) pause(); /* another thread's fault ends the process */
    add(&line, "{\"nonce\":\"");
    add(&line, raised.nonce);
    add(&line, "\",\"ok\":false,\"what\":\"error\",\"text\":\"");
    describe(&line, edge, at, writes);
    add(&line, "\"}\n");
    for (size_t sent = 0; sent < line.used;) {
        const ssize_t n = write(raised.answer, line.text + sent, line.used - sent);
        if (n <= 0) break;
        sent += (size_t)n;
    }
    _exit(0);
}

/* The fault */

/* Elsewhere it is not known: then it is a write where reading is allowed. */
static bool is_write(const void *context, bool inside) {
#if defined(__x86_64__)
    (void)inside;
    return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
#else
    (void)context;
    return inside;
#endif
}

static const struct edge *edge_at(uintptr_t at) {
    for (size_t n = 0; n < raised.count; n++) {
        const struct edge *edge = &raised.edges[n];
        const uintptr_t from = (uintptr_t)first_page(edge) - EDGES_PAGE_BYTES;
        if (at - from < page_bytes(edge) + 2 * (size_t)EDGES_PAGE_BYTES) return edge;
    }
    return NULL;
}

/* To whom a fault belongs that is none of ours: the kernel may live by them. */
static void pass_on(int number, siginfo_t *info, void *context) {
    if (raised.before.sa_flags & SA_SIGINFO) {
        raised.before.sa_sigaction(number, info, context);
    } else if (raised.before.sa_handler != SIG_DFL && raised.before.sa_handler != SIG_IGN) {
        raised.before.sa_handler(number);
    } else {
        sigaction(number, &raised.before, NULL);
        raise(number); /* when this handler is at its end */
    }
}

static void on_fault(int number, siginfo_t *info, void *context) {
    const uintptr_t at = (uintptr_t)info->si_addr;
    const struct edge *edge = info->si_code == SEGV_ACCERR ? edge_at(at) : NULL;
    if (edge == NULL) {
        pass_on(number, info, context);
        return;
    }
    const bool inside = at - (uintptr_t)first_page(edge) < page_bytes(edge);
    tell(edge, at, is_write(context, inside));
}

static bool protect(unsigned char *at, size_t bytes, int how) {
    return bytes == 0 || mprotect(at, bytes, how) == 0;
}

static bool protect_all(int inside, int beside) {
    bool well = true;
    for (size_t n = 0; n < raised.count; n++) {
        unsigned char *first = first_page(&raised.edges[n]);
        const size_t bytes = page_bytes(&raised.edges[n]);
        well = protect(first, bytes, inside) && well;
        well = protect(first - EDGES_PAGE_BYTES, EDGES_PAGE_BYTES, beside) && well;
        well = protect(first + bytes, EDGES_PAGE_BYTES, beside) && well;
    }
    return well;
}

bool edges_raise(const struct edge *edges, size_t count, int answer, const char *nonce) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    memcpy(raised.edges, edges, count * sizeof *edges);
    raised.count = count;
    raised.answer = answer;
    raised.nonce = nonce;
    if (sysconf(_SC_PAGESIZE) <= EDGES_PAGE_BYTES && protect_all(PROT_READ, PROT_NONE) &&
        sigaction(SIGSEGV, &action, &raised.before) == 0)
        return true;
    protect_all(PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE);
    return false;
}

void edges_lower(void) {
    struct sigaction now;
    protect_all(PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE);
    if (sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
        now.sa_sigaction == on_fault) /* else the launch has put its own there */
        sigaction(SIGSEGV, &raised.before, NULL);
}
