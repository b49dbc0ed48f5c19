/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/launch/pmi1_line.h"

#include <string.h>

#include "tests/fuzz/target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    /* In a block of exactly that size, so that a read behind it is found. */
    char *text = malloc(size ? size : 1);
    struct pmi1_line *line = malloc(sizeof *line), *again = malloc(sizeof *again);
    if (!text || !line || !again) abort();
    memcpy(text, bytes, size);

    struct diagnostic diagnostic = {0};
    weft_status status = pmi1_line_parse(line, text, size, &diagnostic);
    PROMISE(status == WEFT_OK || status == WEFT_PROTOCOL_ERROR);
    PROMISE((diagnostic.text[0] != '\0') == (status != WEFT_OK));
    if (status == WEFT_OK) {
        PROMISE(line->count >= 1 && line->count <= PMI1_FIELDS_MAX);
        PROMISE(pmi1_line_field(line, "cmd") && pmi1_line_field(line, "cmd")[0]);
        /* What was read prints, and reads back as the same fields. */
        char printed[PMI1_LINE_BYTES + 1] = "";
        for (size_t i = 0; i < line->count; i++) {
            PROMISE(pmi1_line_field(line, line->fields[i].name) == line->fields[i].value);
            if (i) strcat(printed, " ");
            strcat(strcat(strcat(printed, line->fields[i].name), "="), line->fields[i].value);
        }
        strcat(printed, "\n");
        PROMISE(strlen(printed) <= size);
        PROMISE(pmi1_line_parse(again, printed, strlen(printed), NULL) == WEFT_OK && again->count == line->count);
        for (size_t i = 0; i < line->count; i++) {
            PROMISE(strcmp(line->fields[i].name, again->fields[i].name) == 0);
            PROMISE(strcmp(line->fields[i].value, again->fields[i].value) == 0);
        }
    }
    free(again);
    free(line);
    free(text);
    return 0;
}
