"""How many threads a model has where nobody says: the environment's number, else the cores."""

from __future__ import annotations

from pathlib import Path

import pytest
import t5g

MODEL = Path(__file__).parent / "goldens" / "v2-gqa-w5.gguf"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("T5G_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("own", "openmp", "expected"),
    [
        ("3", None, 3),
        (" 5 ", "2", 5),
        (None, "7", 7),
        ("", "7", 7),
        (None, "6,2,1", 6),
        (None, " 4 , 2", 4),
    ],
)
def test_the_environment_says(
    own: str | None, openmp: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("T5G_NUM_THREADS", own), ("OMP_NUM_THREADS", openmp)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert t5g.system_info()["default_threads"] == expected
    with t5g.Model(MODEL) as model:
        assert model.n_threads == expected
    with t5g.Model(MODEL, n_threads=2) as model:
        assert model.n_threads == 2


@pytest.mark.parametrize("value", ["many", "0", "-1", "2.5", "4,2", "1025", "99999999999999999999"])
def test_a_number_of_threads_that_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T5G_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"T5G_NUM_THREADS is '{value}', expected a number of threads from 1 to 1024"):
        t5g.Model(MODEL)
    with t5g.Model(MODEL, n_threads=1) as model:
        assert model.n_threads == 1


@pytest.mark.parametrize("value", ["many", "0", "-1", "2.5", "99999", ",2", ""])
def test_openmp_s_variable_is_not_ours_to_judge(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = t5g.system_info()["default_threads"]
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert t5g.system_info()["default_threads"] == cores


def test_the_converter_obeys_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    from t5g_convert.threads import default_threads

    assert 1 <= default_threads() <= 8
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    assert default_threads() == 9
    monkeypatch.setenv("T5G_NUM_THREADS", "1")
    assert default_threads() == 1
