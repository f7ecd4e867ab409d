/* Inputs behind protected pages, on a CPU: while they are, each can be read and not written, and
 * the pages before its first and behind its last cannot be touched at all. So an access that does
 * no harm is found too.
 *
 * Whatever thread of the kernel goes there, the process ends, and the answer to the request at hand
 * is {"ok": false, ...} with a text that begins with the status that it is: FAIL_OOB_READ,
 * FAIL_OOB_WRITE or FAIL_INPUT_CHANGED, and says which tensor, and where. Other faults are nobody's
 * business here: they find the handler that was there before. */
#ifndef ATTEST_EDGES_H
#define ATTEST_EDGES_H

#include "../../kernels/attn.h"

#include <stdbool.h>

enum { EDGES_PAGE_BYTES = 4096 }; /* with larger pages nothing can be protected */

/* An input of `bytes` at tensor->data. The page before it and the page behind it belong to it. */
struct edge {
    enum attn_slot slot;
    const struct attn_tensor *tensor;
    size_t bytes;
};

/* `answer`: the file that answers are written to, `nonce` what this one has to repeat. The edges
 * are copied, the tensors and the text are not. False where memory cannot be protected; then
 * nothing is. */
bool edges_raise(const struct edge *edges, size_t count, int answer, const char *nonce);
void edges_lower(void);

#endif
