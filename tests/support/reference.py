"""Both families' forward pass in plain NumPy, float64, nothing cached or fused: second oracle, first stop of debugging.

Reads a checkpoint folder as transformers saves it and follows the block diagrams line by line. `Reference.trace` keeps
every intermediate of the last call under names such as `enc.blk.0.attn_norm`, so that a wrong number can be followed to
its layer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * (1.0 + weight)


def gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def softcap(x: Array, cap: float | None) -> Array:
    return cap * np.tanh(x / cap) if cap else x


def rope(x: Array, theta: float, factor: float) -> Array:
    """Rotate `x` [n, heads, Dh] by positions 0 .. n-1; element i pairs with element i + Dh/2.

    Frequencies and angles are rounded to float32 as transformers rounds them: at position 2000 an angle's last float32
    bit is 1e-4, and models are trained with the rounded ones.
    """
    n, _, head_dim = x.shape
    half = head_dim // 2
    exponent = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequency = np.float32(1) / np.float32(theta) ** exponent / np.float32(factor)
    angle = (np.arange(n, dtype=np.float32)[:, None, None] * frequency).astype(np.float64)  # [n, 1, Dh/2]
    left, right = x[..., :half], x[..., half:]
    rotated = (left * np.cos(angle) - right * np.sin(angle), right * np.cos(angle) + left * np.sin(angle))
    return np.concatenate(rotated, axis=-1)


def attend(q: Array, k: Array, v: Array, mask: Array, scale: float, cap: float | None) -> Array:
    """Return softmax(q k^T) v for q [n, H, Dh] and k, v [m, K, Dh]; a query that sees no key yields zeros."""
    repeat = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, repeat, axis=1), np.repeat(v, repeat, axis=1)
    scores = softcap(np.einsum("qhd,khd->hqk", q, k) * scale, cap)
    scores = np.where(mask, scores, -np.inf)
    top = scores.max(axis=-1, keepdims=True, initial=-1e300)
    weights = np.exp(scores - top)
    total = weights.sum(axis=-1, keepdims=True)
    probabilities = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return np.einsum("hqk,khd->qhd", probabilities, v).reshape(len(q), q.shape[1] * q.shape[2])


def bidirectional_mask(n: int, window: int, *, total: bool, inclusive: bool) -> Array:
    """Which keys a query of a sliding encoder layer sees.

    T5Gemma 2 (`total`) spends `window` keys on both sides together, T5Gemma `window` on each.
    """
    d = np.arange(n)[:, None] - np.arange(n)[None, :]
    if total:
        return ((d >= 0) & (d < (window + 1) // 2)) | ((d < 0) & (-d < window // 2 + 1))
    return abs(d) <= window if inclusive else abs(d) < window


def causal_mask(n: int, window: int | None) -> Array:
    d = np.arange(n)[:, None] - np.arange(n)[None, :]
    return (d >= 0) & (d < window) if window else d >= 0


class Reference:
    """A checkpoint folder, ready to be computed.

    Parameters
    ----------
    folder
        With ``config.json`` and float32 ``model.safetensors``, as transformers 5 saves them.
    encoder_window
        T5Gemma only: ``"exclusive"`` sees ``|i - j| < W`` as trained, ``"inclusive"`` ``|i - j| <= W`` as transformers
        from 5.4 on.
    """

    def __init__(self, folder: str | Path, *, encoder_window: str = "exclusive") -> None:
        from safetensors.numpy import load_file

        config = json.loads((Path(folder) / "config.json").read_text())
        self.merged = config["model_type"] == "t5gemma2"
        self.encoder = config["encoder"]["text_config"] if self.merged else config["encoder"]
        self.decoder = config["decoder"]
        self.eoi = config["encoder"]["eoi_token_index"] if self.merged else None
        self.inclusive = encoder_window == "inclusive"
        tensors = load_file(Path(folder) / "model.safetensors")
        self.weights = {name.removeprefix("model."): value.astype(np.float64) for name, value in tensors.items()}
        self.trace: dict[str, Array] = {}

    def encode(self, source: list[int]) -> Array:
        """Return the encoder's final hidden states, [S, D]."""
        x = self._embed("encoder", source)
        n = len(source)
        for i, kind in enumerate(self.encoder["layer_types"]):
            mask = np.ones((n, n), bool)
            if kind == "sliding_attention":
                window = self.encoder["sliding_window"]
                mask = bidirectional_mask(n, window, total=self.merged, inclusive=self.inclusive)
            x = self._block("encoder", i, x, mask, None)
        return self._norm("encoder", "norm", x, "enc.output_norm")

    def logits(self, source: list[int] | Array, target: list[int]) -> Array:
        """Return next-token logits after every target token, [T, V]; `source` may be the hidden states themselves."""
        hidden = np.asarray(source) if np.ndim(source) == 2 else self.encode(source)
        x = self._embed("decoder", target)
        for i, kind in enumerate(self.decoder["layer_types"]):
            window = self.decoder["sliding_window"] if kind == "sliding_attention" else None
            x = self._block("decoder", i, x, causal_mask(len(target), window), hidden)
        x = self._norm("decoder", "norm", x, "dec.output_norm")
        head = self.weights.get("lm_head.out_proj.weight", self._table("decoder"))
        return self._keep("logits", softcap(x @ head.T, self.decoder.get("final_logit_softcapping")))

    def _block(self, side: str, i: int, x: Array, mask: Array, hidden: Array | None) -> Array:
        name, blk = f"layers.{i}", f"{side[:3]}.blk.{i}"
        h = self._norm(side, f"{name}.pre_self_attn_layernorm", x, f"{blk}.attn_norm")
        cross = hidden if self.merged else None
        a = self._attention(side, i, "self_attn", h, h, mask, cross)
        x = x + self._norm(side, f"{name}.post_self_attn_layernorm", a, f"{blk}.attn_post_norm")
        if hidden is not None and not self.merged:
            h = self._norm(side, f"{name}.pre_cross_attn_layernorm", x, f"{blk}.cross_attn_norm")
            everything = np.ones((len(x), len(hidden)), bool)
            a = self._attention(side, i, "cross_attn", h, hidden, everything, None)
            x = x + self._norm(side, f"{name}.post_cross_attn_layernorm", a, f"{blk}.cross_attn_post_norm")
        h = self._norm(side, f"{name}.pre_feedforward_layernorm", x, f"{blk}.ffn_norm")
        gate, up, down = (self.weights[f"{side}.{name}.mlp.{part}_proj.weight"] for part in ("gate", "up", "down"))
        m = self._keep(f"{blk}.ffn_down", (gelu_tanh(h @ gate.T) * (h @ up.T)) @ down.T)
        x = x + self._norm(side, f"{name}.post_feedforward_layernorm", m, f"{blk}.ffn_post_norm")
        return self._keep(f"{blk}.output", x)

    def _attention(self, side: str, i: int, part: str, h: Array, kv: Array, mask: Array, merged: Array | None) -> Array:
        config = self.encoder if side == "encoder" else self.decoder
        name, blk = f"{side}.layers.{i}.{part}", f"{side[:3]}.blk.{i}.{part.replace('self_attn', 'attn')}"

        def project(what: str, y: Array) -> Array:
            weight = self.weights[f"{name}.{what}_proj.weight"]
            out = (y @ weight.T).reshape(len(y), len(weight) // config["head_dim"], config["head_dim"])
            if f"{name}.{what}_norm.weight" in self.weights:
                out = rms_norm(out, self.weights[f"{name}.{what}_norm.weight"], config["rms_norm_eps"])
            return out

        q, k, v = project("q", h), project("k", kv), project("v", kv)
        if part == "self_attn":
            theta, factor = self._rope_of(config, config["layer_types"][i])
            q, k = rope(q, theta, factor), rope(k, theta, factor)
        if merged is not None:
            k = np.concatenate([k, project("k", merged)])
            v = np.concatenate([v, project("v", merged)])
            mask = np.concatenate([mask, np.ones((len(h), len(merged)), bool)], axis=1)
        self._keep(f"{blk}_q", q), self._keep(f"{blk}_k", k), self._keep(f"{blk}_v", v)
        cap = None if self.merged else config["attn_logit_softcapping"]
        a = attend(q, k, v, mask, config["query_pre_attn_scalar"] ** -0.5, cap)
        return self._keep(f"{blk}_o", self._keep(f"{blk}_heads", a) @ self.weights[f"{name}.o_proj.weight"].T)

    def _rope_of(self, config: dict[str, Any], kind: str) -> tuple[float, float]:
        parameters = config["rope_parameters"]
        parameters = parameters.get(kind, parameters)
        return parameters["rope_theta"], parameters.get("factor", 1.0)

    def _table(self, side: str) -> Array:
        return self._own_or_encoders(side, "weight")

    def _own_or_encoders(self, side: str, part: str) -> Array:
        """Return a side's embedding tensor; T5Gemma 2's decoder has its own only in untied checkpoints."""
        own = self.weights.get(f"{side}.embed_tokens.{part}")
        return self.weights[f"encoder.embed_tokens.{part}"] if own is None else own

    def _embed(self, side: str, ids: list[int]) -> Array:
        table = self._table(side)
        x = table[np.asarray(ids, dtype=np.int64)] * np.sqrt(table.shape[1])
        if self.eoi in ids:
            x[np.asarray(ids) == self.eoi] = self._own_or_encoders(side, "eoi_embedding")
        return self._keep(f"{side[:3]}.embd", x)

    def _norm(self, side: str, name: str, x: Array, keep_as: str) -> Array:
        eps = (self.encoder if side == "encoder" else self.decoder)["rms_norm_eps"]
        return self._keep(keep_as, rms_norm(x, self.weights[f"{side}.{name}.weight"], eps))

    def _keep(self, name: str, value: Array) -> Array:
        self.trace[name] = value
        return value
