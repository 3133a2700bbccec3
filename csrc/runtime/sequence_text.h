// The text of a sequence as its tokens come: decoded, cut at a stop string, with the part nobody has taken yet.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sampling/stop_matcher.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

namespace t5g {

// How tokens become text, of all requests alike.
struct TextOptions {
  std::vector<std::string> stop;    // texts that end a sequence
  bool skip_special_tokens = true;  // leave special tokens out of the text
};

class SequenceText {
 public:
  SequenceText(std::shared_ptr<const Tokenizer> tokenizer, const TextOptions& options)
      : tokenizer_(std::move(tokenizer)), decoder_(*tokenizer_, options.skip_special_tokens), stop_(options.stop) {}

  void push(int32_t id) { add(stop_.feed(decoder_.push(id))); }
  // Whether a stop string is complete.
  bool stopped() const { return stop_.matched(); }
  // After the last token: what was held back is text after all.
  void end() {
    if (stopped()) return;
    add(stop_.feed(decoder_.finish()));
    add(stop_.flush());
  }

  // All of it, once.
  std::string take() { return std::move(text_); }
  // What has become certain since the last call.
  std::string take_fresh() { return std::exchange(fresh_, {}); }

 private:
  void add(const std::string& text) {
    text_ += text;
    fresh_ += text;
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  StreamDecoder decoder_;
  StopMatcher stop_;
  std::string text_;
  std::string fresh_;
};

}  // namespace t5g
