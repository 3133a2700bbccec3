// What a backend answers that has no latent sources, of which the runtime asks has_latents() first, or no adapters, of
// which the first one that is loaded fails.
#include "ops/ops.h"

#include "base/error.h"

namespace t5g {

std::unique_ptr<Latent> Ops::load_latent(const LatentFormat&, int64_t, std::span<const std::byte>) {
  throw Unsupported("this device keeps keys and values of sources only. Use source_cache='keys'.");
}

void Ops::scale_latent(Latent&, Tensor, int64_t, int, float) {
  throw Unsupported("this device keeps keys and values of sources only. Use source_cache='keys'.");
}

namespace {

[[noreturn]] void refuse_adapters() {
  throw Unsupported(
      "this device runs no adapters. Merge the adapter into its base (t5g-convert ADAPTER_DIR --base BASE_DIR), or use "
      "device='cpu'.");
}

}  // namespace

std::unique_ptr<LowRank> Ops::load_low_rank(std::span<const float>, std::span<const float>, int64_t) {
  refuse_adapters();
}
void Ops::add_low_rank(Tensor, std::span<const LowRankProduct>) { refuse_adapters(); }
void Ops::geglu(Tensor, Tensor) { refuse_adapters(); }
void Ops::bias_gelu(Tensor, Tensor) { refuse_adapters(); }
void Ops::select_adapted(Tensor, const Head&, std::span<const LowRankProduct>, float, std::span<Selection* const>) {
  refuse_adapters();
}

}  // namespace t5g
