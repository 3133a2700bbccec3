"""Which level is in use, and T5G_CPU, which chooses another."""

import os
import subprocess
import sys

import pytest
import t5g
from support.kernels import LEVELS, each_level
from support.testing_module import kernels

LEVEL_NAMES = [name for name, _ in kernels.levels()]
ON_REQUEST = {"amx_int8"}
WORTH = {"avx512_bf16": "avx512_bf16_fast"}  # levels that are in use by themselves with these features only


def active_in_a_new_process(t5g_cpu: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "T5G_CPU"}
    if t5g_cpu is not None:
        environment["T5G_CPU"] = t5g_cpu
    code = "import t5g; print(t5g.system_info()['kernels'])"
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_levels_begin_with_the_portable_one_which_runs_everywhere() -> None:
    assert kernels.levels()[0] == ("generic", True)
    assert len(set(LEVEL_NAMES)) == len(LEVELS)


def test_the_best_level_that_needs_no_request_is_used() -> None:
    features = set(t5g.system_info()["cpu_features"])
    slow = {name for name, feature in WORTH.items() if feature not in features}
    best = [name for name, runs in kernels.levels() if runs and name not in ON_REQUEST | slow][-1]
    assert active_in_a_new_process(None).stdout.strip() == best
    assert active_in_a_new_process("").stdout.strip() == best


@each_level
def test_a_level_can_be_forced(level: str) -> None:
    assert active_in_a_new_process(level).stdout.strip() == level


def test_an_unknown_level_is_an_error_that_lists_what_there_is() -> None:
    run = active_in_a_new_process("pentium")
    assert run.returncode != 0
    message = run.stderr.strip().splitlines()[-1]
    assert "UnsupportedError" in message
    assert "'pentium'" in message
    assert all(name in message for name in LEVEL_NAMES)


@pytest.mark.parametrize("level", LEVEL_NAMES)
def test_a_level_that_this_cpu_lacks_is_an_error(level: str) -> None:
    if dict(kernels.levels())[level]:
        pytest.skip(f"this CPU can run {level}")
    run = active_in_a_new_process(level)
    assert run.returncode != 0
    assert f"cannot run the level '{level}'" in run.stderr.strip().splitlines()[-1]
