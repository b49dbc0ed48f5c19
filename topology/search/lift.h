/* SPDX-License-Identifier: Apache-2.0 */
/* Plans of clusters out of plans of one host. */
#ifndef TOPOLOGY_SEARCH_LIFT_H
#define TOPOLOGY_SEARCH_LIFT_H

#include "topology/search/result.h"

/* result->forest for clusters too large to pack trees for every rank. */
weft_status lift_forest(struct search_context *context);
/* result->rings likewise. */
weft_status lift_rings(struct search_context *context);
#endif
