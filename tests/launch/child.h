/* SPDX-License-Identifier: Apache-2.0 */
/* launch_identify() in a child of its own, which has read neither configuration nor launcher before. */
#ifndef TESTS_LAUNCH_CHILD_H
#define TESTS_LAUNCH_CHILD_H

#include "fabric/launch/launch.h"

struct outcome {
    weft_status status;
    weft_unique_id id, second_id; /* of the process's first and second communicator */
    uint32_t rank, rank_count;
    struct diagnostic diagnostic;
    int exit_code; /* of the child; 128 + signal */
};

/* The child's environment is @p variables alone: "NAME=value", separated by spaces. @p keep_fd stays open, -1: none. */
struct outcome identify(const char *variables, int keep_fd);

/* In two halves, so that the caller can serve the child meanwhile. */
struct child {
    int pid, result_fd;
};
struct child identify_begin(const char *variables, int keep_fd);
struct outcome identify_end(struct child child);

/* Fails the test unless @p variables are refused with @p status and a sentence that holds @p why. */
void expect_refusal(const char *variables, weft_status status, const char *why);
#endif
