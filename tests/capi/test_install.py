"""What `cmake --install` gives: C99 and C++ programs find it by pkg-config and CMake, and generate what Python does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import t5g
from support.c_library import ROOT, Library

EXAMPLES = ROOT / "examples"
GOLDENS = Path(__file__).parents[1] / "goldens"
TEXT = "the quick brown fox jumps over the lazy dog"
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]


def run(*command: object, **more: object) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)  # type: ignore[call-overload]
    assert result.returncode == 0, result.stdout + result.stderr
    return str(result.stdout)


@pytest.fixture(scope="module")
def prefix(lib: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = lib.path.parents[2]
    if shutil.which("cmake") is None or not (build / "cmake_install.cmake").is_file():
        pytest.skip("there is no cmake, or the library is not in its build folder")
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", build, "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def libdir(prefix: Path) -> Path:
    return next(prefix.glob("**/libt5g.a")).parent


def expected(model: str) -> str:
    with t5g.Model(GOLDENS / f"{model}.gguf") as python:
        source = python.apply_chat_template([{"role": "user", "content": TEXT}]) if python.has_chat_template else TEXT
        return python.generate(source).text


def test_it_is_the_library_and_nothing_else(prefix: Path, libdir: Path) -> None:
    files = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if not path.is_dir()}
    under = libdir.relative_to(prefix).as_posix()
    assert files - {f for f in files if f.startswith(f"{under}/cmake/t5g/")} == {
        "include/t5g.h",
        f"{under}/libt5g.a",
        f"{under}/libt5g.so",
        f"{under}/libt5g.so.1",
        f"{under}/libt5g.so.{t5g.__version__}",
        f"{under}/pkgconfig/t5g.pc",
    }


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    ("compiler", "language"), [("gcc", ["-std=c99"]), ("g++", ["-xc++", "-std=c++20"])], ids=["c99", "c++"]
)
def test_the_c_program(
    prefix: Path, libdir: Path, tmp_path: Path, compiler: str, language: list[str], static: bool
) -> None:
    if shutil.which("pkg-config") is None:
        pytest.skip("there is no pkg-config")
    environment = os.environ | {"PKG_CONFIG_PATH": str(libdir / "pkgconfig"), "LD_LIBRARY_PATH": str(libdir)}
    flags = run("pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "t5g", env=environment).split()
    if static:
        flags = [str(libdir / "libt5g.a") if flag == "-lt5g" else flag for flag in flags]
    program = tmp_path / "generate"
    source = [*language, EXAMPLES / "c" / "generate.c", *(["-xnone"] if "-xc++" in language else [])]
    run(compiler, *STRICT, *source, *flags, "-o", program)
    for model in ("v1-wide-encoder", "v2-gqa-w5"):
        assert run(program, GOLDENS / f"{model}.gguf", TEXT, env=environment) == expected(model) + "\n"
    if static:
        assert "libt5g" not in run("readelf", "-d", program)
    result = subprocess.run([program, "/nowhere.gguf", TEXT], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "generate: error: /nowhere.gguf: no such file.\n"
    assert subprocess.run([program], env=environment, capture_output=True).returncode == 2


@pytest.mark.parametrize("static", [False, True])
def test_a_c_program_gets_pythons_tokens_and_logits(prefix: Path, libdir: Path, tmp_path: Path, static: bool) -> None:
    library = [libdir / "libt5g.a", "-lstdc++", "-lm", "-lpthread"] if static else [f"-L{libdir}", "-lt5g"]
    program = tmp_path / "logits"
    source = Path(__file__).parent / "logits.c"
    run("gcc", "-std=c99", *STRICT, f"-I{prefix / 'include'}", source, *library, "-o", program)
    for name in ("v1-wide-encoder", "v2-gqa-w5"):
        model = GOLDENS / f"{name}.gguf"
        tokens, bits = run(program, model, TEXT, env=os.environ | {"LD_LIBRARY_PATH": str(libdir)}).splitlines()
        with t5g.Model(model) as python:
            expected_tokens = python.generate(TEXT, max_new_tokens=12).token_ids
            target = [python.config.decoder_start_token_id, *expected_tokens]
            expected_bits = python.logits(TEXT, target).view(np.uint32).ravel()
        assert [int(word) for word in tokens.split()] == expected_tokens
        assert [int(word, 16) for word in bits.split()] == expected_bits.tolist()


@pytest.fixture(scope="module")
def programs(prefix: Path, libdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All examples, built by CMake with what was installed."""
    build = tmp_path_factory.mktemp("examples")
    run("cmake", "-S", EXAMPLES, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release")
    run("cmake", "--build", build)
    return build


def test_find_package(programs: Path) -> None:
    assert run(programs / "generate", GOLDENS / "v2-gqa-w5.gguf", TEXT) == expected("v2-gqa-w5") + "\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("program", ["generate", "candidates"])
def test_a_text_that_cannot_be_written_is_no_success(programs: Path, program: str) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [programs / program, GOLDENS / "v2-gqa-w5.gguf", TEXT], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (result.returncode, result.stderr) == (1, f"{program}: error: standard output cannot be written to\n")


def test_find_package_of_the_static_library(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(program C)\nfind_package(t5g 0.1 REQUIRED)\n"
        f"add_executable(program {EXAMPLES}/c/generate.c)\ntarget_link_libraries(program PRIVATE t5g::t5g_static)\n"
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "program", GOLDENS / "v2-gqa-w5.gguf", TEXT) == expected("v2-gqa-w5") + "\n"


def test_candidates(programs: Path) -> None:
    lines = run(programs / "candidates", GOLDENS / "v2-gqa-w5.gguf", TEXT).splitlines()
    with t5g.Model(GOLDENS / "v2-gqa-w5.gguf") as python:
        found = python.generate(TEXT, num_beams=3, num_return_sequences=3).sequences
    assert lines[0] == f"{found[0].logprob:8.3f}  {found[0].text}".split("\n")[0]
    assert len(re.findall(r"^ *-\d+\.\d{3}  ", "\n".join(lines), re.MULTILINE)) == 3


def test_summarising_a_folder(programs: Path, tmp_path: Path) -> None:
    program, model = programs / "summarise_folder", GOLDENS / "v2-gqa-w5.gguf"
    texts = {"a.txt": TEXT, "b.md": "the dog", "ü.txt": "a fox", "no.csv": "1,2"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bad.txt").write_bytes(b"ab\xff")
    result = subprocess.run([program, model, tmp_path], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout == "a.txt: done\nb.md: done\nü.txt: done\n"
    assert result.stderr == "summarise_folder: bad.txt: text: is not UTF-8: byte 2 begins no character.\n"
    with t5g.Model(model) as python:
        for name in ("a.txt", "b.md", "ü.txt"):
            written = (tmp_path / name).with_suffix(".summary.txt").read_text()
            assert written == python.generate(texts[name]).text + "\n"
    assert sorted(path.name for path in tmp_path.glob("*.summary.txt*")) == [
        "a.summary.txt",
        "b.summary.txt",
        "ü.summary.txt",
    ]
    # Again: only what changed is done anew.
    (tmp_path / "bad.txt").unlink()
    (tmp_path / "b.md").write_text("the other dog")
    later = time.time() + 10
    os.utime(tmp_path / "b.md", (later, later))
    assert run(program, model, tmp_path) == "a.txt: done before\nb.md: done\nü.txt: done before\n"
    assert subprocess.run([program, "/nowhere.gguf", tmp_path], capture_output=True).returncode == 1
    # No summary in place of another's.
    (tmp_path / "b.md").unlink()
    (tmp_path / "a.n.txt").write_text("a dog")
    (tmp_path / "a.md").write_text("a fox")
    result = subprocess.run([program, model, tmp_path], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "a.n.txt: done\nü.txt: done before\n")
    told = "another text has the same summary, a.summary.txt. Rename one of them."
    assert result.stderr == f"summarise_folder: a.md: {told}\nsummarise_folder: a.txt: {told}\n"


def test_summarising_can_be_interrupted(programs: Path, tmp_path: Path) -> None:
    for i in range(2000):
        (tmp_path / f"{i:04}.txt").write_text(TEXT)
    command = [programs / "summarise_folder", GOLDENS / "v1-wide-encoder.gguf", tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "0000.txt: done\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    done = len(list(tmp_path.glob("*.summary.txt")))
    assert 0 < done < 2000
    assert not list(tmp_path.glob("*.tmp"))
