/* A kernel's process. The parent starts `attest worker` (exec'd, so that nothing of the parent's is
 * in it), maps the same shared memory, and sends one JSON object a line on the worker's standard
 * input; the worker answers each with one line on its standard output. Kernels that print do so on
 * standard error. The protocol is written down at the head of worker.c, for workers in other
 * languages. */
#ifndef ATTEST_WORKER_H
#define ATTEST_WORKER_H

int worker_main(int argc, char **argv);

#endif
