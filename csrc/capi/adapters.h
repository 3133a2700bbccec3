// Which adapters a source is read with, as C says it.
#pragma once

#include "capi/t5g.h"
#include "runtime/adapter.h"

namespace t5g::capi {

// Nothing: all that are loaded. Throws InvalidArgument.
AdapterChoices adapters_argument(const t5g_encode_options& options);

}  // namespace t5g::capi
