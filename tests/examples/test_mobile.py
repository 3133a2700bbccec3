"""The examples for phones: their C++ compiles for ARM, and Kotlin and Swift call what is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.c_library import FUNCTIONS, STRUCTS

ROOT = Path(__file__).resolve().parents[2]
ANDROID, IOS = ROOT / "examples" / "android", ROOT / "examples" / "ios"
KOTLIN_TO_JNI = {"Int": "jint", "Long": "jlong", "ByteArray": "jbyteArray", "TextListener?": "jobject"}


@pytest.mark.parametrize("compiler", ["aarch64-linux-gnu-g++", "g++", "clang++-19"])
def test_the_jni_side_compiles(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    stub = Path(__file__).parents[1] / "support" / "jni"
    command = [compiler, "-std=c++20", "-Wall", "-Wextra", "-Wconversion", "-Werror", f"-I{stub}"]
    command += [f"-I{ROOT / 'csrc' / 'capi'}", "-fsyntax-only", str(ANDROID / "t5g_jni.cc")]
    subprocess.run(command, check=True)


def test_kotlin_and_jni_agree() -> None:
    kotlin, native = (ANDROID / "T5g.kt").read_text(), (ANDROID / "t5g_jni.cc").read_text()
    declared = {}
    for name, inside, result in re.findall(r"external fun (\w+)\(([^)]*)\)(?:: (\w+))?", kotlin):
        types = re.findall(r":\s*([\w?]+)", inside)
        declared[name] = ([KOTLIN_TO_JNI[t] for t in types], KOTLIN_TO_JNI.get(result, "void"))
    defined = {}
    for result, name, inside in re.findall(r"JNIEXPORT (\w+) JNICALL\s+Java_org_t5g_T5g_(\w+)\(([^)]*)\)", native):
        types = [words.split()[0].rstrip("*") for words in inside.split(",")]
        assert types[:2] == ["JNIEnv", "jclass"]
        defined[name] = (types[2:], result)
    assert declared == defined
    assert len(defined) == 6


def test_swift_calls_what_the_header_has() -> None:
    swift = (IOS / "Sources" / "T5g.swift").read_text()
    used = set(re.findall(r"\bt5g_\w+", swift))
    known = set(FUNCTIONS) | set(STRUCTS) | {"t5g_status"}
    assert used <= known
    fields = {name for struct in STRUCTS.values() for name, _ in struct._fields_}
    assert set(re.findall(r"(?:options|reading|writing)\.(\w+) =", swift)) <= fields
    assert 'header "t5g.h"' in (IOS / "module.modulemap").read_text()
