"""The package as installed: light to import, versioned once, licensed, and its commands answer at once."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
import t5g

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(t5g.__file__).parent
HEAVY = {
    "torch",
    "transformers",
    "gguf",
    "sentencepiece",
    "tokenizers",
    "PIL",
    "tqdm",
    "http.server",
    "starlette",
    "uvicorn",
}
COMMANDS = sorted(re.findall(r"^t5g-(\w+) = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh Python, with nothing on its standard input."""
    return subprocess.run([sys.executable, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)


def modules_after(statement: str) -> set[str]:
    """Return the names in sys.modules after a fresh interpreter ran the statement."""
    result = run("-c", f"{statement}\nimport sys; print('\\n' + ' '.join(sys.modules))")
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


def test_import_is_light() -> None:
    assert not (HEAVY | {"t5g_convert"}) & modules_after("import t5g")


def test_the_converter_is_imported_when_it_is_named() -> None:
    assert "t5g_convert" not in modules_after("import t5g; t5g.Model().close()")
    assert "t5g_convert" in modules_after("import t5g; t5g.convert")


def test_text_in_text_out_needs_no_numpy() -> None:
    text = "with t5g.Model() as model: model.generate(' Some text.', max_new_tokens=2)"
    assert not (HEAVY | {"numpy"}) & modules_after(f"import t5g\n{text}")


def test_version_is_the_same_everywhere() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", t5g.__version__)
    try:
        distribution = importlib.metadata.distribution("t5g")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("t5g is not installed: running from the source tree")
    assert distribution.version == t5g.__version__
    assert distribution.metadata["License-Expression"] == "Apache-2.0"
    assert any(str(path).endswith("licenses/LICENSE") for path in distribution.files or [])


def test_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert (PACKAGE / "_core" / "__init__.pyi").exists()


def test_everything_public_exists_and_is_documented() -> None:
    for name in t5g.__all__:
        assert hasattr(t5g, name), name
        if name != "__version__":
            assert getattr(t5g, name).__doc__, f"t5g.{name} has no docstring"


@pytest.mark.parametrize("command", COMMANDS)
def test_command_answers_help_and_version(command: str) -> None:
    usage = run("-m", f"t5g.cli.{command}", "--help")
    assert (usage.returncode, usage.stderr) == (0, "")
    assert usage.stdout.startswith(f"usage: t5g-{command} ")
    version = run("-m", f"t5g.cli.{command}", "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout == f"t5g-{command} {t5g.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_command_help_loads_nothing_heavy(command: str) -> None:
    script = f"import t5g.cli.{command} as c\ntry: c.main(['--help'])\nexcept SystemExit: pass"
    assert not (HEAVY | {"numpy", "t5g._core"}) & modules_after(script)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_refuses_wrong_usage(command: str) -> None:
    result = run("-m", f"t5g.cli.{command}", "--no-such-option")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"t5g-{command}: error: " in result.stderr
