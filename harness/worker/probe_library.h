/* What libraries that measure a GPU export: its ceilings (kernels/cuda/probe.cu) and a control
 * (kernels/cuda/control.cu). C11 and C++, no type of anybody else. They are loaded in a worker, as
 * kernels are. */
#ifndef ATTEST_PROBE_LIBRARY_H
#define ATTEST_PROBE_LIBRARY_H

#ifdef __cplusplus
extern "C" {
#endif

/* Rates as in struct machine_device (record.h); 0: not measured. */
struct probe_ceilings {
    double copy_bytes_s, read_bytes_s;
    double gather_bytes_s[4];     /* rows of 128, 256, 512 and 1024 bytes, at random */
    double f16_flops, bf16_flops; /* sustained; and in a burst (regime.h): */
    double f16_burst_flops, bf16_burst_flops;
    double launch_us, graph_launch_us;
};

/* On the current context's device and `stream` (a CUstream), spending about `seconds` in all, and
 * one of rest. NULL, or what went wrong: a text that lives as long as the library. */
__attribute__((visibility("default"))) const char *attest_probe(void *stream, double seconds,
                                                                struct probe_ceilings *ceilings);

/* A fixed piece of work (control.h), once, between two events. A library of its own exports it, for
 * it is loaded beside kernels (kernels/cuda/control.cu). NULL, or what went wrong. */
__attribute__((visibility("default"))) const char *attest_control(void *stream, double *us);

#ifdef __cplusplus
}
#endif

#endif
