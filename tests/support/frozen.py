"""What freezing a program needs of the system."""

import sys
import sysconfig

import pytest


def need_pyinstaller() -> None:
    """Skip where PyInstaller is missing, or would refuse this Python: one that is all in one program."""
    pytest.importorskip("PyInstaller")
    if sys.platform == "linux" and not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("this Python has no shared library, which PyInstaller wants")
