/* Fixtures and outputs between HDF5 and safetensors: for programs that have no HDF5. */
#ifndef ATTEST_EXCHANGE_H
#define ATTEST_EXCHANGE_H

#include "tensors.h"
#include "../../fixtures/fixture.h"

/* Writes the arrays as datasets of a file, and the texts of the metadata as its attributes: of a
 * fixture format, version, line, dtype, causal and scale, the last two as numbers. A boolean and
 * numbers may be texts ("true", "1", "0.125"). What then makes a fixture of it, the loader says. */
bool exchange_write(const struct tensors *tensors, const char *path, struct fault *fault);
/* What is said of a file of ours is said of `path`, which it was made from or is to be. */
void exchange_rename(struct fault *fault, const char *temporary, const char *path);
/* A fixture's tensors and, as answer.out and answer.lse, its answer, with its attributes as
 * metadata; they stay the fixture's. tensors_close. */
void exchange_take(struct tensors *tensors, const struct fixture *fixture);

#endif
