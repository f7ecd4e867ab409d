/* What a shell offers where the Tab key is pressed: `attest complete WORD...`, which attest.bash
 * and attest.zsh ask. The words are those behind "attest" up to the cursor, the last as far as it
 * is typed ("" if not at all). Printed are, a line each: TEXT<Tab>MEANING    what the last word may
 * become; TEXT ends with a space where nothing follows :files  :folders    names of these may stand
 * here too All of it is made from the verbs' tables, folders and the words of problem lines; no
 * library is loaded and no process started: 2 ms. */
#ifndef ATTEST_COMPLETE_H
#define ATTEST_COMPLETE_H

#include <stdbool.h>

/* Returns the exit status, 0. */
int complete_main(int argc, char **argv);

/* Whether `name`, a stand-in for an argument as "SUITE", is one that this file knows what to do
 * about: for the test that all of the verbs' are. */
bool complete_knows(const char *name);

#endif
