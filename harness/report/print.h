/* Numbers and texts for people, as reports and comparisons print them. */
#ifndef ATTEST_PRINT_H
#define ATTEST_PRINT_H

#include <stdio.h>

/* Three or four digits, a unit that fits, "–" for NaN. */
void print_number(FILE *to, double value);
void print_time(FILE *to, double us);
void print_bytes(FILE *to, double bytes);
void print_rate(FILE *to, double per_second, const char *unit);
/* A text in a table's cell: '|' and line ends would break it. */
void print_cell(FILE *to, const char *text);

#endif
