/* What accelerators there are, and what one of them can reach: the answers to the requests
 * "devices" and "probe" of the protocol at the head of worker.c, which need no kernel. */
#ifndef ATTEST_SURVEY_H
#define ATTEST_SURVEY_H

#include <jansson.h>

json_t *survey_devices(const json_t *request);
json_t *survey_probe(const json_t *request);

#endif
