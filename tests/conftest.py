"""Settings for all tests; that this file is here puts tests/ on the import path, where `support` lives."""

import os
import signal

from support.no_skips import pytest_addoption, pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_addoption", "pytest_make_collect_report", "pytest_runtest_makereport"]

try:
    import hypothesis
except ImportError:
    pass  # the few tests that a wheel is built with need none
else:
    # Timing is never a test, nor that of making its inputs: a loaded machine is no fault.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("t5g", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("t5g")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that interrupt one would wait in
# vain.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
