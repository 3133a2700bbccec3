"""Opening, generating and freeing leaves memory as it was, however often."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.c_library import Library

GOLDEN = Path(__file__).parents[1] / "goldens" / "v2-gqa-w5.gguf"
# Bytes that are left after 200 rounds beyond those after 40. A model takes 1 MB: one in fifty that is kept shows.
LIMIT_BYTES = 3_000_000

PROGRAM = """
import ctypes, sys
from support.c_library import Library
lib = Library(sys.argv[1])
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
def one_round():
    model = lib.make("model_open", sys.argv[2].encode(), None)
    source = lib.encode(model, "the quick brown fox")
    options = lib.options("generate", model, max_new_tokens=8)
    result = lib.make("generate", model, source, ctypes.byref(options))
    lib.sequences(result)
    lib.result_get_logprob(result, 0, ctypes.byref(ctypes.c_double()))
    lib.take_text("system_info")
    lib.result_free(result)
    lib.source_free(source)
    lib.model_free(model)
for _ in range(40):
    one_round()
before = resident()
for _ in range(200):
    one_round()
print(resident() - before)
"""


def test_two_hundred_rounds_leave_memory_flat(lib: Library) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "T5G_NUM_THREADS": "2"}
    command = [sys.executable, "-c", PROGRAM, lib.path, GOLDEN]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < LIMIT_BYTES
