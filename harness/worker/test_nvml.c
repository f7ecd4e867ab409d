/* NVML's readings, from a stand-in whose values are environment variables (odd/standin_nvml.c). */
#include "nvml.h"
#include "../verb.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char bus[] = "0000:17:00.0";

/* Opens a library of the folder standin. */
static bool open_standin(const char *name) {
    char path[4400];
    snprintf(path, sizeof path, "%s/../standin/%s", verb_kernels(), name);
    setenv("ATTEST_NVML", path, 1);
    return nvml_open(bus);
}

static void set_readings(void) {
    setenv("STANDIN_MHZ", "1755", 1);
    setenv("STANDIN_MHZ_MAX", "1980", 1);
    setenv("STANDIN_CELSIUS", "64", 1);
    setenv("STANDIN_MILLIWATTS", "698500", 1);
    setenv("STANDIN_REASONS", "0x45", 1);
    setenv("STANDIN_ECC", "1", 1);
    setenv("STANDIN_ECC_ERRORS", "3", 1);
    setenv("STANDIN_XIDS", "", 1);
}

Test(nvml, reads_what_the_gpu_says) {
    struct nvml_reading reading;
    char text[96];
    set_readings();
    cr_assert(open_standin("libnvidia-ml.so.1"));
    nvml_read(&reading);
    cr_assert(reading.sm_mhz == 1755 && reading.celsius == 64);
    cr_assert(fabs(reading.watts - 698.5) < 1e-9);
    cr_assert(reading.reasons == 0x44, "%#llx", (unsigned long long)reading.reasons); /* not idle */
    cr_assert(!strcmp(nvml_reasons_text(reading.reasons, text), "sw_power_cap hw_thermal"), "%s",
              text);
    cr_assert(nvml_clock_max() == 1980);
    cr_assert(nvml_ecc() == 1 && nvml_uncorrected_errors() == 3);
    cr_assert(nvml_xid() == 0);
    nvml_close();
}

Test(nvml, a_reading_that_the_gpu_declines_is_the_only_one_not_known) {
    static const char *const variables[] = {
        "STANDIN_MHZ",     "STANDIN_MILLIWATTS", "STANDIN_CELSIUS",
        "STANDIN_REASONS", "STANDIN_MHZ_MAX",    "STANDIN_ECC",
    };
    for (int missing = 0; missing < 6; missing++) {
        struct nvml_reading reading;
        set_readings();
        unsetenv(variables[missing]);
        cr_assert(open_standin("libnvidia-ml.so.1"));
        nvml_read(&reading);
        cr_assert(isnan(reading.sm_mhz) == (missing == 0), "%s", variables[missing]);
        cr_assert(isnan(reading.watts) == (missing == 1), "%s", variables[missing]);
        cr_assert(isnan(reading.celsius) == (missing == 2), "%s", variables[missing]);
        cr_assert((reading.reasons == 0) == (missing == 3), "%s", variables[missing]);
        cr_assert(isnan(nvml_clock_max()) == (missing == 4), "%s", variables[missing]);
        cr_assert((nvml_ecc() == -1) == (missing == 5), "%s", variables[missing]);
        nvml_close();
    }
}

Test(nvml, errors_are_known_only_where_ecc_is_on) {
    set_readings();
    setenv("STANDIN_ECC", "0", 1);
    cr_assert(open_standin("libnvidia-ml.so.1"));
    cr_assert(nvml_ecc() == 0 && nvml_uncorrected_errors() == -1);
    setenv("STANDIN_ECC", "1", 1);
    unsetenv("STANDIN_ECC_ERRORS");
    cr_assert(nvml_ecc() == 1 && nvml_uncorrected_errors() == -1);
    nvml_close();
}

Test(nvml, the_first_xid_since_it_was_asked_last) {
    set_readings();
    setenv("STANDIN_XIDS", "0 79 31", 1); /* 0: an event of another kind */
    cr_assert(open_standin("libnvidia-ml.so.1"));
    cr_assert(nvml_xid() == 79);
    cr_assert(nvml_xid() == 0);
    setenv("STANDIN_XIDS", "0 79 31 48", 1);
    cr_assert(nvml_xid() == 48);
    nvml_close();
}

Test(nvml, a_gpu_without_events_has_readings) {
    struct nvml_reading reading;
    set_readings();
    unsetenv("STANDIN_XIDS");
    cr_assert(open_standin("libnvidia-ml.so.1"));
    nvml_read(&reading);
    cr_assert(reading.sm_mhz == 1755 && nvml_xid() == 0);
    nvml_close();
}

Test(nvml, an_old_drivers_library_does_under_its_names) {
    struct nvml_reading reading;
    set_readings();
    setenv("STANDIN_XIDS", "31", 1);
    cr_assert(open_standin("libnvidia-ml-old.so.1"));
    nvml_read(&reading);
    cr_assert(reading.sm_mhz == 1755 && reading.reasons == 0x44);
    cr_assert(isnan(reading.celsius)); /* it has no such function */
    cr_assert(nvml_xid() == 31);
    nvml_close();
}

static void nothing_is_known(void) {
    struct nvml_reading reading;
    nvml_read(&reading);
    cr_assert(isnan(reading.sm_mhz) && isnan(reading.watts) && isnan(reading.celsius));
    cr_assert(reading.reasons == 0 && isnan(nvml_clock_max()));
    cr_assert(nvml_ecc() == -1 && nvml_uncorrected_errors() == -1 && nvml_xid() == 0);
}

Test(nvml, without_it_nothing_is_known) {
    set_readings();
    nothing_is_known();
    cr_assert(!open_standin("libnothing.so"));
    nothing_is_known();
    setenv("STANDIN_NVML_DEAD", "1", 1);
    cr_assert(!open_standin("libnvidia-ml.so.1"));
    nothing_is_known();
    unsetenv("STANDIN_NVML_DEAD");
    cr_assert(!nvml_open("0000:99:00.0")); /* no such GPU */
    nothing_is_known();
    cr_assert(nvml_open(bus));
    cr_assert(nvml_clock_max() == 1980);
    nvml_close();
    nothing_is_known();
    nvml_close(); /* twice is harmless */
}

Test(nvml, every_reason_has_a_name_and_all_of_them_have_room) {
    char text[96], all[96];
    cr_assert(!strcmp(nvml_reasons_text(0, text), ""));
    cr_assert(!strcmp(nvml_reasons_text(1, text), "")); /* idle */
    nvml_reasons_text(~(uint64_t)0, all);
    for (uint64_t bit = 2; bit <= 0x100; bit *= 2) {
        cr_assert(strlen(nvml_reasons_text(bit, text)) > 0, "%#llx", (unsigned long long)bit);
        cr_assert(strstr(all, text) != NULL, "%s: %s", text, all);
    }
    cr_assert(!strcmp(text, "display") && strlen(all) == 91, "%zu: %s", strlen(all), all);
}
