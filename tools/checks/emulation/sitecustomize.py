"""Lets a Python under qemu start other Pythons under qemu: sys.executable becomes the wrapper that started this one."""

import os
import sys

if "T5G_EMULATED_PYTHON" in os.environ:
    sys.executable = os.environ["T5G_EMULATED_PYTHON"]
