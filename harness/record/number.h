/* Numbers for people, the same in a row's reason, on a terminal and in a report. */
#ifndef ATTEST_NUMBER_H
#define ATTEST_NUMBER_H

/* Three or four digits, and the largest unit that leaves at least 1; "–" for NaN. */
struct number {
    char text[32];
};
struct number number_plain(double value);
struct number number_time(double us);
struct number number_bytes(double bytes);
struct number number_rate(double per_second, const char *unit);
/* "1 row", "2 rows". */
struct number number_count(long long count, const char *what);

#endif
