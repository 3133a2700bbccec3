"""--no-skips turns every way of skipping a test into a failure that gives the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SKIPS = {
    "module": "import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass\n",
    "mark": "import pytest\n@pytest.mark.skip(reason='no_such_module')\ndef test_it(): pass\n",
    "call": "import pytest\ndef test_it(): pytest.skip('no_such_module')\n",
}


@pytest.mark.parametrize("kind", SKIPS)
def test_a_skip_is_a_failure_only_where_all_must_run(tmp_path: Path, kind: str) -> None:
    (tmp_path / "test_some.py").write_text(SKIPS[kind])

    def run(*options: str) -> str:
        line = [sys.executable, "-m", "pytest", "-p", "support.no_skips", "-rs", *options, str(tmp_path)]
        environment = os.environ | {"PYTHONPATH": str(TESTS)}
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stdout

    assert "1 skipped" in run()
    output = run("--no-skips")
    assert "skipped" not in output.splitlines()[-1]
    assert "1 failed" in output or "1 error" in output
    assert "no_such_module" in output
