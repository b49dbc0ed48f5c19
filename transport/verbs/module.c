/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/verbs/module.h"

#include <weft/types.h>

__attribute__((visibility("default"))) const struct verbs_module *weft_verbs_module(void)
{
    static struct verbs_module module = {.abi = VERBS_MODULE_ABI, .endpoint_create = verbs_endpoint_create};

    module.version = weft_version();
    return &module;
}
