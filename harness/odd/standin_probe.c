/* In the place of the libraries that measure a GPU: every rate is STANDIN_RATE, of products in
 * a burst half as much again, or it fails where
 * that is not set; the control takes 42 us. */
#include "../worker/probe_library.h"

#include <stdlib.h>

const char *attest_probe(void *stream, double seconds, struct probe_ceilings *ceilings) {
    const char *text = getenv("STANDIN_RATE");
    if (text == NULL || stream == NULL || !(seconds > 0)) return "measuring nothing";
    const double rate = strtod(text, NULL);
    *ceilings = (struct probe_ceilings){.copy_bytes_s = rate,
                                        .read_bytes_s = rate,
                                        .gather_bytes_s = {rate, 2 * rate, 3 * rate, 4 * rate},
                                        .f16_flops = rate,
                                        .bf16_flops = rate,
                                        .f16_burst_flops = 1.5 * rate,
                                        .bf16_burst_flops = 1.5 * rate,
                                        .launch_us = 5,
                                        .graph_launch_us = 0.5};
    return NULL;
}

const char *attest_control(void *stream, double *us) {
    *us = 42;
    return stream != NULL ? NULL : "no stream";
}
