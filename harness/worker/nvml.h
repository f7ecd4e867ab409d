/* The state of an NVIDIA GPU while kernels are timed on it, from NVML as the driver brings it: the
 * library is opened when asked for, and without it every reading is "not known". One GPU a process.
 *
 * NVML numbers GPUs by bus, CUDA by its own rules: they agree on the PCI bus id. $ATTEST_NVML names
 * another library to open instead of libnvidia-ml.so.1. */
#ifndef ATTEST_NVML_H
#define ATTEST_NVML_H

#include <stdbool.h>
#include <stdint.h>

struct nvml_reading {
    double sm_mhz; /* NaN: not known, as the next two */
    double watts, celsius;
    uint64_t reasons; /* why the clock is not higher: NVML's clocks event (throttle) reasons, only
                         those that slow a busy GPU down */
};

/* False when there is no NVML or it does not know this GPU ("0000:17:00.0"). Also begins to listen
 * for Xid errors. */
bool nvml_open(const char *pci_bus_id);
void nvml_close(void);
/* What the GPU does at this moment; some microseconds, and no wait for work under way. */
void nvml_read(struct nvml_reading *reading);
/* "sw_power_cap hw_thermal", "" for none. */
const char *nvml_reasons_text(uint64_t reasons, char text[96]);
/* Double-bit errors since the driver was loaded; -1: not known, ECC off included. */
int64_t nvml_uncorrected_errors(void);
/* 1: ECC is on, 0: off, -1: not known. */
int64_t nvml_ecc(void);
/* The number of the first Xid error since nvml_open or the last call; 0: none, or not known. */
int64_t nvml_xid(void);
/* The highest SM clock the GPU is specified for, MHz; NaN: not known. */
double nvml_clock_max(void);

#endif
