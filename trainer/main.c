/* SPDX-License-Identifier: Apache-2.0 */
/* weft-train: the command. With --ranks N it is first a supervisor, whose children run the same command line. */
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

#include "trainer/error.h"
#include "trainer/options.h"
#include "trainer/text.h"
#include "trainer/train.h"

enum { EXIT_WRONG_USE = 2 };

static int fail(const char *error)
{
    fprintf(stderr, "weft-train: %s\n", error);
    return EXIT_FAILURE;
}

/* A bad data file is better said once than by every rank. */
static bool data_is_good(const struct options *options, char *error)
{
    struct text text;
    if (!text_open(options->data, options->context, &text, error)) return false;
    text_close(&text);
    return true;
}

static int supervise(const struct options *options, char **arguments)
{
    char error[ERROR_BYTES];
    int exit_code = EXIT_FAILURE;
    if (!data_is_good(options, error)) return fail(error);
    weft_status status = weft_local_run((uint32_t)options->ranks, arguments, &exit_code);
    if (status != WEFT_OK) {
        error_set(error, "cannot start %u ranks: %s", (unsigned)options->ranks, weft_status_text(status));
        return fail(error);
    }
    return exit_code;
}

int main(int argument_count, char **arguments)
{
    char error[ERROR_BYTES];
    struct options options;
    switch (options_parse(argument_count, arguments, &options, error)) {
    case OPTIONS_HELP:
        options_help(stdout);
        return EXIT_SUCCESS;
    case OPTIONS_VERSION:
        printf("weft-train %s\n", weft_version());
        return EXIT_SUCCESS;
    case OPTIONS_WRONG:
        fail(error);
        return EXIT_WRONG_USE;
    case OPTIONS_RUN:
        break;
    }
    if (options.ranks > 1 && !weft_local_is_child()) return supervise(&options, arguments);
    return train(&options, error) ? EXIT_SUCCESS : fail(error);
}
