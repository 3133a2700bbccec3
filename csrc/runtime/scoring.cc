// A target that ends makes room for the next one, as in a generator.
#include "runtime/scoring.h"

#include <algorithm>
#include <span>
#include <utility>

namespace t5g {
namespace {

class Scored {
 public:
  Scored(Model& model, const ScoringRequest& request, const ActiveAdapters& adapters, std::vector<float>& out,
         Interrupt* interrupt)
      : target_(request.target), out_(out), cache_(model.new_cache()) {
    Model::Images images;
    const bool reusable = request.source != nullptr;
    for (const auto& pixels : request.images) images.push_back(model.encode_image(pixels, interrupt, adapters));
    const auto encoded =
        reusable ? request.source
                 : model.encode({Model::Unread{request.source_ids, images, adapters}}, SourceOrigin::kFinal, interrupt)
                       .front();
    source_ =
        reusable ? model.project_and_keep(*encoded, adapters, interrupt) : model.project(*encoded, adapters, interrupt);
    ids_.push_back(model.config().decoder_start_token_id);
    ids_.insert(ids_.end(), target_.begin(), target_.end() - 1);  // nothing is asked about what follows the last token
  }

  bool done() const { return out_.size() == target_.size(); }

  Model::Step step() {
    const size_t first = out_.size(), n = std::min(target_.size() - first, Model::kShortStep);
    wanted_.resize(n);
    for (size_t i = 0; i < n; ++i) {
      wanted_[i].ids.assign(1, target_[first + i]);
      wanted_[i].log_sum_exp = LogSumExp::kYes;
    }
    return {source_.get(), &cache_, std::span<const int32_t>(ids_).subspan(first, n), wanted_};
  }

  void take() {
    for (const Selection& answer : wanted_) out_.push_back(answer.values[0] - answer.found_log_sum_exp.value());
  }

 private:
  const std::vector<int32_t>& target_;
  std::vector<float>& out_;
  std::shared_ptr<const SourceCache> source_;
  KvCache cache_;
  std::vector<int32_t> ids_;
  std::vector<Selection> wanted_;
};

// -> the adapters of the source.
ActiveAdapters check(const Model& model, const ScoringRequest& request) {
  Model::check_ids("target", request.target, model.config().decoder);
  if (request.source != nullptr) return model.check_readable(*request.source);
  Model::check_ids("source", request.source_ids, model.config().encoder);
  model.check_images(request.source_ids, request.images.size());
  for (const auto& pixels : request.images) model.check_pixels(pixels);
  return model.adapters().choose(request.adapters);
}

}  // namespace

std::vector<std::vector<float>> score_targets(Model& model, const std::vector<ScoringRequest>& requests,
                                              int64_t max_batch, Interrupt* interrupt) {
  std::vector<ActiveAdapters> adapters;
  for (const ScoringRequest& request : requests) adapters.push_back(check(model, request));
  std::vector<std::vector<float>> results(requests.size());
  std::vector<std::unique_ptr<Scored>> running;
  std::vector<Model::Step> steps;
  for (size_t next = 0; next < requests.size() || !running.empty();) {
    while (next < requests.size() && std::ssize(running) < max_batch) {
      const size_t i = next++;
      if (!requests[i].target.empty())
        running.push_back(std::make_unique<Scored>(model, requests[i], adapters[i], results[i], interrupt));
    }
    steps.clear();
    for (const auto& scored : running) steps.push_back(scored->step());
    if (!steps.empty()) model.decode(steps, interrupt);
    for (const auto& scored : running) scored->take();
    std::erase_if(running, [](const auto& scored) { return scored->done(); });
  }
  return results;
}

}  // namespace t5g
