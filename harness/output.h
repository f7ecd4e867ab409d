/* Where results go. A result that could not be written was not told: the program then says so, once
 * however many processes it has, and its exit status is FAULT_INPUT. A reader that has seen enough
 * (`| head -1`) ends the program by SIGPIPE, as it ends others. */
#ifndef ATTEST_OUTPUT_H
#define ATTEST_OUTPUT_H

/* Before anything is printed or opened. Standard output is written through a stream that notes the
 * first error, standard error through one on which text that others wrote cannot steer a terminal;
 * what is to steer it goes to STDERR_FILENO itself. */
void output_begin(void);

#endif
