"""The conformance list, which the driver of ctest runs, has every op."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What every row of the list uses, and none can do without.
SETTING_UP = {"block_rows", "load", "load_table", "load_head", "load_rotary", "make_kv_pool", "upload"}
SETTING_UP |= {"load_latent", "load_low_rank"}


def ops() -> list[str]:
    """The names of the ops, as ops.h declares them."""
    text = (ROOT / "csrc/ops/ops.h").read_text(encoding="utf-8")
    declared = re.findall(r"virtual [^(=;]*?(\w+)\([^;{]*\)(?: const)?(?: = 0;|;| \{)", text)
    return sorted(set(declared) - SETTING_UP)


def test_the_ops_were_found() -> None:
    assert {"embed", "linear", "attention", "select", "scatter_rows", "scale_latent"} <= set(ops())
    assert len(ops()) > 15


@pytest.mark.parametrize("op", ops())
def test_every_op_has_a_row(op: str) -> None:
    rows = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/ops").glob("cases_*.cc"))
    assert re.search(rf'push_back\(\{{"{op}"', rows), f"add a row for {op} to tests/ops/cases_*.cc"
