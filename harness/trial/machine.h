/* The machine as a run keeps it (record.h). Its ceilings are measured, in probe.h. */
#ifndef ATTEST_MACHINE_H
#define ATTEST_MACHINE_H

#include "../record/record.h"

/* Fills everything about this machine but the ceilings. The command is kept as a shell reads it. */
void machine_describe(struct machine *machine, int argc, char **argv);

#endif
