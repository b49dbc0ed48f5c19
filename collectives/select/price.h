/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan is expected to take. Pure. docs/design/selection.md says where the terms come from. */
#ifndef COLLECTIVES_SELECT_PRICE_H
#define COLLECTIVES_SELECT_PRICE_H

#include "collectives/select/select.h"

/* Do direct plans of the request go by the cells and loans of exec/exchange.h? */
bool price_is_by_exchange(const struct cost_model *model, const struct select_request *request,
                          weft_algorithm algorithm);
/*
 * Of a direct plan that goes by exchange: between threads of one core, are its steps better than the kernel's copies?
 * Whatever the model's figures are of: they are of where processors were when they were measured.
 */
bool price_steps_are_better_near(const struct select_request *request);
/* If so, those of which plan, of equal bits? WEFT_ALGORITHM_AUTO: its own. */
weft_algorithm price_algorithm_near(const struct select_request *request);
/* Had buffers that peers cannot map better go by the stage (exec/stage.h)? */
bool price_stages_are_better_near(const struct select_request *request);
/* And between cores? */
bool price_stages_are_better_apart(const struct select_request *request);
/* What each message waits where ranks share processors: until the others that share this one have had their turn. */
double price_turn_ns(const struct cost_model *model, const struct select_request *request);
/* Passes over a block that a processor makes for all ranks that share it; 0: each has its own. */
double price_shared_passes(const struct select_request *request);
/* @p units: the channel units that it is the price of, where they make a difference. */
double price_hierarchical(const struct cost_model *model, const struct select_request *request, uint32_t *units);
/* Nanoseconds. */
double price(const struct cost_model *model, const struct select_request *request, weft_algorithm algorithm);
#endif
