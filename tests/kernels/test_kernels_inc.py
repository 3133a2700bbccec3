"""Every row of csrc/kernels/cpu/kernels.inc is complete: an entry at each level, a function, a test and a benchmark."""

import ast
import runpy
from pathlib import Path

import numpy as np
import pytest
from support.row_kernels import REFERENCES, ROW_KERNELS
from support.testing_module import kernels
from t5g import InvalidArgumentError

ROOT = Path(__file__).resolve().parents[2]


def untested(names: list[str]) -> list[str]:
    """Kernels without a reference (support/row_kernels.py) and without a test that is named after them."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    tests = [node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]

    def is_tested(name: str) -> bool:
        return name in REFERENCES or any(f"{test}_".startswith(f"test_{name}_") for test in tests)

    return [name for name in names if not is_tested(name)]


def test_no_level_has_an_empty_entry() -> None:
    assert kernels.empty_entries() == []


def test_every_kernel_is_a_function_of_a_level() -> None:
    for name in kernels.rows():
        assert (getattr(kernels, name).__doc__ or "").startswith(f"{name}(level: str"), name


def test_every_kernel_has_a_test() -> None:
    assert untested(kernels.rows()) == []
    assert untested(["matmul", "rms_norm", "conjure"]) == ["conjure"]


def test_no_reference_is_of_a_kernel_that_is_gone() -> None:
    assert set(REFERENCES) == set(ROW_KERNELS)


def test_every_kernel_has_a_benchmark() -> None:
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "kernels.py"))
    assert set(benchmark["BENCHMARKS"]) == set(kernels.rows()) - set(ROW_KERNELS)


def test_arguments_that_do_not_fit_the_row_are_errors() -> None:
    x, half = np.ones(64, np.float32), np.ones(31, np.float32)
    with pytest.raises(InvalidArgumentError, match="expected, behind the level, x, weight, eps; found 2 arguments"):
        kernels.rms_norm("generic", x, x)
    with pytest.raises(InvalidArgumentError, match="cosines: expected 32 values, found 31"):
        kernels.rope("generic", x, half, half)
    with pytest.raises(InvalidArgumentError, match="x: expected a multiple of 32 values, found 31"):
        kernels.quantize_row("generic", half)
    with pytest.raises(InvalidArgumentError, match="bias: expected an array of numbers"):
        kernels.bias_gelu("generic", x, "all of them")
