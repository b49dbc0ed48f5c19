/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How libweft comes by this transport: as a module, weft_verbs.so, so that a machine without libibverbs can run it.
 * The module exports one function; both sides were built from the same source, or do without each other.
 */
#ifndef TRANSPORT_VERBS_MODULE_H
#define TRANSPORT_VERBS_MODULE_H

#include "transport/verbs/verbs.h"

/* Counts up with each change of struct verbs_module, struct verbs_config, or what they lead to. */
#define VERBS_MODULE_ABI 1u

struct verbs_module {
    uint32_t abi;
    const char *version; /* weft_version() of its sources */
    weft_status (*endpoint_create)(const struct verbs_config *config, struct rendezvous rendezvous,
                                   struct endpoint **endpoint, struct diagnostic *diagnostic);
};

/* The module's one symbol. */
const struct verbs_module *weft_verbs_module(void);

/*
 * Load the module, once per process, from WEFT_MODULE_PATH, else the folder "weft" beside this library, else where it
 * would be installed. Thread: any.
 * Errors: WEFT_UNSUPPORTED, with what is missing: the module, a library that it needs, or the right version of it.
 */
weft_status verbs_module_load(const struct verbs_module **module, struct diagnostic *diagnostic);
#endif
