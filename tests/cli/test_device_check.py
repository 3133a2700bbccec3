"""`t5g-bench --check`: a device that is right, one that is not, and none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import t5g
from support.commands import ENVIRONMENT, run
from t5g.device_check import DeviceCheck

GOLDENS = Path(__file__).parents[1] / "goldens"
SMALL = GOLDENS / "v2-gqa-w5.gguf"
IMAGES = GOLDENS / "v2-images.gguf"


class Wrong:
    """A model whose logits, and what depends on them, are off."""

    def __init__(self, model: t5g.Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def logits(self, *arguments: Any) -> np.ndarray:
        return self._model.logits(*arguments) * np.float32(1.01)

    def generate_batch(self, *arguments: Any, **options: Any) -> list[Any]:
        outs = self._model.generate_batch(*arguments, **options)
        return [SimpleNamespace(token_ids=out.token_ids, logprob=out.logprob + 1e-6) for out in outs]


def test_what_is_right_passes() -> None:
    with t5g.Model(IMAGES, device="cpu") as device, t5g.Model(IMAGES, device="cpu", n_threads=1) as cpu:
        findings = list(DeviceCheck(device, cpu).findings())
    assert [f.name for f in findings] == [
        "hidden states",
        "logits",
        "a source of the CPU",
        "an image",
        "greedy tokens",
        "same bits",
    ]
    assert all(f.passed for f in findings), findings


def test_what_is_wrong_fails_and_says_by_how_much() -> None:
    with t5g.Model(SMALL, device="cpu") as model:
        findings = {f.name: f for f in DeviceCheck(Wrong(model), model).findings()}  # type: ignore[arg-type]
    assert findings["hidden states"].passed
    assert not findings["logits"].passed
    assert "1.0e-02 of the largest value" in findings["logits"].detail
    assert not findings["same bits"].passed
    assert findings["same bits"].detail == "other bits in a batch"


def test_without_a_device_the_reasons_are_told() -> None:
    done = run("bench", SMALL, "--check", "--device", "cpu")
    assert done.returncode == 1
    assert b"none works here. cuda: device 'cuda': " in done.stderr


@pytest.mark.slow
def test_the_report() -> None:
    if not t5g.system_info()["devices"]["emulated"].startswith("available"):
        pytest.skip("there is no device to check: build with T5G_EMULATED_GPU=ON")
    done = run("bench", SMALL, "--check", "--device", "emulated", env=ENVIRONMENT | {"T5G_NUM_THREADS": "2"})
    text = done.stdout.decode()
    assert done.returncode == 0, text
    assert text.splitlines()[0].startswith(f"t5g {t5g.__version__}, ")
    assert text.count("\nok      ") == 5
    assert "decode @ 512" in text
    assert text.endswith("all 5 checks passed\n")
