// Field by field.
#include "config_dict.h"

#include <pybind11/stl.h>

namespace t5g::python {
namespace {

namespace py = pybind11;

py::object none_if(bool missing, const py::object& value) { return missing ? py::none() : value; }

py::dict rope_dict(const RopeParameters& rope) {
  py::dict d;
  d["rope_theta"] = rope.rope_theta;
  d["factor"] = rope.factor;
  return d;
}

py::dict side_dict(const TextConfig& c) {
  py::list layer_types;
  for (const LayerType type : c.layer_types)
    layer_types.append(type == LayerType::kFullAttention ? "full_attention" : "sliding_attention");
  py::dict d;
  d["vocab_size"] = c.vocab_size;
  d["hidden_size"] = c.hidden_size;
  d["intermediate_size"] = c.intermediate_size;
  d["num_hidden_layers"] = c.num_hidden_layers;
  d["num_attention_heads"] = c.num_attention_heads;
  d["num_key_value_heads"] = c.num_key_value_heads;
  d["head_dim"] = c.head_dim;
  d["query_pre_attn_scalar"] = c.query_pre_attn_scalar;
  d["rms_norm_eps"] = c.rms_norm_eps;
  d["attn_logit_softcapping"] = none_if(c.attn_logit_softcapping == 0, py::cast(c.attn_logit_softcapping));
  d["final_logit_softcapping"] = none_if(c.final_logit_softcapping == 0, py::cast(c.final_logit_softcapping));
  d["sliding_window"] = c.sliding_window;
  d["max_position_embeddings"] = c.max_position_embeddings;
  d["layer_types"] = py::tuple(layer_types);
  d["rope_full_attention"] = rope_dict(c.rope_full);
  d["rope_sliding_attention"] = rope_dict(c.rope_sliding);
  return d;
}

py::dict vision_dict(const VisionConfig& c) {
  py::dict d;
  d["hidden_size"] = c.hidden_size;
  d["intermediate_size"] = c.intermediate_size;
  d["num_hidden_layers"] = c.num_hidden_layers;
  d["num_attention_heads"] = c.num_attention_heads;
  d["image_size"] = c.image_size;
  d["patch_size"] = c.patch_size;
  d["layer_norm_eps"] = c.layer_norm_eps;
  d["mm_tokens_per_image"] = c.mm_tokens_per_image;
  return d;
}

}  // namespace

py::dict config_dict(const Config& c) {
  const auto id = [](int32_t value) { return none_if(value < 0, py::cast(value)); };
  py::dict d;
  d["architecture"] = c.architecture == Architecture::kT5Gemma ? "t5gemma" : "t5gemma2";
  d["name"] = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(c.name.data(), static_cast<Py_ssize_t>(c.name.size()), "replace"));
  d["vocab_size"] = c.vocab_size;
  d["encoder"] = side_dict(c.encoder);
  d["decoder"] = c.has_decoder ? py::object(side_dict(c.decoder)) : py::none();
  d["vision"] = c.vision ? py::object(vision_dict(*c.vision)) : py::none();
  d["decoder_start_token_id"] = none_if(!c.has_decoder, py::cast(c.decoder_start_token_id));
  d["eos_token_id"] = py::tuple(py::cast(c.eos_token_ids));
  d["image_token_index"] = id(c.image_token_id);
  d["boi_token_index"] = id(c.boi_token_id);
  d["eoi_token_index"] = id(c.eoi_token_id);
  return d;
}

}  // namespace t5g::python
