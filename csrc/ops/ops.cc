// What a backend without latent sources answers; the runtime asks has_latents() first.
#include "ops/ops.h"

#include "base/error.h"

namespace t5g {

std::unique_ptr<Latent> Ops::load_latent(const LatentFormat&, int64_t, std::span<const std::byte>) {
  throw Unsupported("this device keeps keys and values of sources only. Use source_cache='keys'.");
}

void Ops::scale_latent(Latent&, Tensor, int64_t, int, float) {
  throw Unsupported("this device keeps keys and values of sources only. Use source_cache='keys'.");
}

}  // namespace t5g
