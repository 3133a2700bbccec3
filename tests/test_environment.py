"""Variables of the environment: a wrong value is an error that names the variable, since nobody gave it in the call."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import t5g

MODEL = Path(__file__).parent / "goldens" / "v2-gqa-w5.gguf"
ABSENT = [name for name, state in t5g.system_info()["devices"].items() if not state.startswith("available")]


@pytest.mark.parametrize("name", [name for name in ("cuda", "metal", "emulated") if name in ABSENT])
def test_a_device_that_is_not_there_is_told_with_the_variable_that_asks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(t5g.UnsupportedError) as asked:
        t5g.Model(MODEL, device=name)
    monkeypatch.setenv("T5G_DEVICE", name)
    with pytest.raises(t5g.UnsupportedError) as found:
        t5g.Model(MODEL)
    assert str(found.value) == f"T5G_DEVICE is '{name}': {asked.value} Or change T5G_DEVICE."
    with t5g.Model(MODEL, device="cpu") as model:  # which the call asks for
        assert model.device == "cpu"


def test_a_device_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T5G_DEVICE", "nonsense")
    with pytest.raises(t5g.InvalidArgumentError, match=r"^T5G_DEVICE is 'nonsense', expected one of 'auto'"):
        t5g.Model(MODEL)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "99999999999999999999"])
def test_numbers_of_threads(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T5G_NUM_THREADS", value)
    with pytest.raises(t5g.InvalidArgumentError, match=re.escape(f"T5G_NUM_THREADS is '{value}', expected a number")):
        t5g.Model(MODEL)


def test_a_level_of_the_cpu_that_does_not_exist() -> None:
    code = f"import os; os.environ['T5G_CPU'] = 'none'; import t5g; t5g.Model({str(MODEL)!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "UnsupportedError: T5G_CPU: no level 'none' in this build. Choose one of: " in result.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("T5G_MODEL", "none.gguf", "T5G_MODEL is 'none.gguf': none.gguf: no such file."),
        ("T5G_MODEL", __file__, "T5G_MODEL is .*: not a GGUF file"),
        ("T5G_API_KEY", " x", "T5G_API_KEY: must be ASCII characters without spaces"),
        ("T5G_API_KEY", "\u00fc", "T5G_API_KEY: must be ASCII characters without spaces"),
    ],
)
def test_what_workers_of_a_server_are_told(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("starlette")
    from t5g.server.app import from_environment

    monkeypatch.setenv(name, value)
    with pytest.raises(t5g.InvalidArgumentError, match=message):
        from_environment()
