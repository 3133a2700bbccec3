"""Which level is in use, and T5G_CPU, which chooses another."""

import os
import subprocess
import sys

import pytest
import t5g
from support.kernels import LEVELS, each_level
from support.testing_module import kernels

LEVEL_NAMES = [name for name, _ in kernels.levels()]
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


def test_the_best_level_is_used() -> None:
    features = set(t5g.system_info()["cpu_features"])
    slow = {name for name, feature in WORTH.items() if feature not in features}
    best = [name for name, runs in kernels.levels() if runs and name not in slow][-1]
    assert active_in_a_new_process(None).stdout.strip() == best
    assert active_in_a_new_process("").stdout.strip() == best


@pytest.mark.skipif(not dict(kernels.levels()).get("amx_int8"), reason="this CPU has no tiles")
def test_tiles_are_left_alone_where_a_signal_stack_is_too_small_for_them() -> None:
    code = """
import ctypes
class Stack(ctypes.Structure):
    _fields_ = [("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(8192)
stack = Stack(ctypes.addressof(memory), 0, len(memory))
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0
import t5g
print(t5g.system_info()["kernels"], t5g.Model().generate("a").text != "")
"""
    environment = {name: value for name, value in os.environ.items() if name != "T5G_CPU"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["avx512_vnni", "True"]


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
