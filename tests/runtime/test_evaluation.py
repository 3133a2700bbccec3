"""Scores of a model: each against a definition of its own, and the command around them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import t5g
from t5g.evaluation import Pair, evaluate, read_pairs, word_error_rate

PAIRS = [Pair("one source", "a target"), Pair("another, longer one", "b"), Pair("", "some text here")]


def test_word_error_rate() -> None:
    assert word_error_rate(["a b c"], ["a b c"]) == 0
    assert word_error_rate(["a x c"], ["a b c"]) == pytest.approx(1 / 3)
    assert word_error_rate(["", "a b c d"], ["a b", "a d"]) == pytest.approx(4 / 4)
    assert word_error_rate([], []) == 0


def test_loss_is_the_mean_over_tokens_and_the_end(tiny_model: t5g.Model) -> None:
    result = evaluate(tiny_model, PAIRS, generate=False)
    scores = [tiny_model.score(pair.source, pair.target, add_eos=True).token_logprobs for pair in PAIRS]
    assert result.n_target_tokens == sum(map(len, scores))
    assert result.loss == pytest.approx(-float(np.concatenate(scores).mean()), rel=1e-5)
    assert result.rougeL is None


def test_generated_texts_are_scored(tiny_model: t5g.Model) -> None:
    pytest.importorskip("rouge_score")
    outputs = [tiny_model.generate(pair.source, max_new_tokens=6).text.strip() for pair in PAIRS]
    result = evaluate(tiny_model, PAIRS, max_new_tokens=6, max_batch_size=2)
    assert result.outputs == outputs
    same = [Pair(pair.source, output) for pair, output in zip(PAIRS, outputs, strict=True)]
    assert evaluate(tiny_model, same, max_new_tokens=6).exact_match == 100


def test_a_model_agrees_with_itself_and_not_with_another(tiny_model: t5g.Model, tiny_path: Path) -> None:
    result = evaluate(tiny_model, PAIRS, reference=tiny_model, generate=False)
    assert result.kl_divergence == 0
    assert result.top1_agreement == 100
    assert result.loss == pytest.approx(evaluate(tiny_model, PAIRS, generate=False).loss, rel=1e-5)


def test_the_divergence_is_that_of_the_definition(tiny_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    t5g.quantize(tiny_path, tmp_path / "small.gguf", "q4_0", pure=True)
    with t5g.Model(tiny_path) as wide, t5g.Model(tmp_path / "small.gguf") as narrow:
        found = evaluate(narrow, PAIRS[:1], reference=wide, generate=False).kl_divergence
        ids = narrow.tokenizer.encode("a target", add_special_tokens=False)
        inputs = [narrow.config.decoder_start_token_id, *ids]
        p, q = (np.exp(m.logits("one source", inputs).astype(np.float64)) for m in (wide, narrow))
        p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    assert found == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), rel=1e-6)


def test_wrong_pairs_name_their_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"source": "a", "target": "b"}\n\n{"source": 1, "target": "b"}\n')
    with pytest.raises(ValueError, match="line 3"):
        read_pairs(path)
    path.write_text("not json\n")
    with pytest.raises(ValueError, match="line 1"):
        read_pairs(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="no pairs"):
        read_pairs(path)


def test_the_same_seed_draws_the_same_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"source": str(i), "target": "t"}) + "\n" for i in range(50)))
    assert read_pairs(path, limit=5, seed=1) == read_pairs(path, limit=5, seed=1)
    assert read_pairs(path, limit=5, seed=1) != read_pairs(path, limit=5, seed=2)
    assert len(read_pairs(path)) == 50


def test_the_command(tiny_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("rouge_score")
    pairs, outputs = tmp_path / "pairs.jsonl", tmp_path / "outputs.jsonl"
    pairs.write_text("".join(json.dumps({"source": p.source, "target": p.target}) + "\n" for p in PAIRS))

    def run(*flags: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "t5g.cli.eval", str(tiny_path), *map(str, flags)]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)

    flags = ["-n", 4, "--reference", tiny_path, "--outputs", outputs]
    facts = json.loads(run(pairs, *flags, "--json").stdout)
    assert (facts["n_pairs"], facts["top1_agreement"]) == (3, 100)
    assert [json.loads(line)["source"] for line in outputs.read_text().splitlines()] == [p.source for p in PAIRS]
    table = run(pairs, "--no-generate", "--limit", 2)
    assert "loss" in table.stdout
    assert "rouge" not in table.stdout
    pairs.write_text('{"source": "one source", "target": ""}\n')
    without_words = run(pairs, "-n", 4, "--json").stdout
    assert '"word_error_rate": null' in without_words
    assert "Infinity" not in without_words
    failed = run(tmp_path / "none.jsonl")
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert run(pairs, "--limit", 0).returncode == 2
