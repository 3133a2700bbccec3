"""t5g._testing, the parts of the native core that only tests call: what imports this is skipped where it is missing."""

from typing import Any

import pytest

_testing: Any = pytest.importorskip(
    "t5g._testing",
    reason="there is no t5g._testing: install t5g with --config-settings=cmake.define.T5G_TESTING=ON",
)
StreamDecoder = _testing.StreamDecoder
kernels = _testing.kernels
sampling = _testing.sampling
