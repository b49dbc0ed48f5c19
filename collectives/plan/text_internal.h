/* SPDX-License-Identifier: Apache-2.0 */
/* What the printer and the reader of docs/formats/plan.md share. */
#ifndef COLLECTIVES_PLAN_TEXT_INTERNAL_H
#define COLLECTIVES_PLAN_TEXT_INTERNAL_H

#include "collectives/plan/plan.h"

#define PLAN_TEXT_VERSION 1u

/* The word for what a step does, which follows from its operands: put, copy, reduce, fused, signal, wait or idle. */
const char *step_verb(const struct plan_program *program, const struct plan_step *step);

/* The word for an operand's form, which has been checked. */
const char *plan_form_name(uint32_t form);

/*
 * Tokens of a text that may hold anything: words (letters, digits, underscores), numbers (digits, a minus sign before
 * them), "->", and any other character by itself. Blank lines and lines that begin with '#' are passed over.
 */
struct token_reader {
    const char *at, *end;          /* unread */
    const char *token, *token_end; /* the current one; empty at the end of a line, NULL at the end of the text */
    uint32_t line;                 /* that the current token stands on, from 1 */
    struct diagnostic *diagnostic;
};

/* To the first token of the first line. */
void token_begin(struct token_reader *reader, const char *text, size_t bytes, struct diagnostic *diagnostic);
bool token_is(const struct token_reader *reader, const char *word);
/* To the next token of the line; stays at its end. */
void token_next(struct token_reader *reader);
/* WEFT_BAD_FORMAT, saying the line, what the current token is, and @p expected. */
weft_status token_unexpected(const struct token_reader *reader, const char *expected);

/* Each of these takes the current token if it is what it should be, and otherwise says what it should have been. */
weft_status token_take(struct token_reader *reader, const char *word);
weft_status token_take_number(struct token_reader *reader, uint32_t low, uint32_t high, uint32_t *value);
weft_status token_take_signed(struct token_reader *reader, int32_t *value);
weft_status token_take_line_end(struct token_reader *reader);
/* One of @p count words; *index says which. */
weft_status token_take_choice(struct token_reader *reader, const char *(*word)(uint32_t index), uint32_t count,
                              const char *expected, uint32_t *index);
#endif
