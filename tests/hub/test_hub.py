"""Models of a hub: files and checkpoints through huggingface_hub, from a server on this machine that can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import t5g
from support import hub_server
from support.adapters import factors, write_adapter
from support.commands import ENVIRONMENT, run
from support.folders import Folder, t5gemma_config
from support.hub_server import COMMIT, Hub
from support.written_files import TOO_LARGE

pytest.importorskip("huggingface_hub")
pytest.importorskip("gguf")

REPO = "some/model"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.running() as hub:
        yield hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Folder.of(t5gemma_config()).write(tmp_path_factory.mktemp("hub") / "hf")


@pytest.fixture(scope="module")
def gguf(folder: Path) -> bytes:
    t5g.convert(folder, folder.parent / "m.gguf", type="q8_0")
    return (folder.parent / "m.gguf").read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"README.md": b"not wanted"}


def environment(hub: Hub | None, cache: Path, **more: str) -> dict[str, str]:
    return ENVIRONMENT | {
        "HF_ENDPOINT": "http://127.0.0.1:9" if hub is None else hub.endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        "HF_HUB_ETAG_TIMEOUT": "5",
        **more,
    }


def info(hub: Hub | None, cache: Path, name: str = f"hf:{REPO}", **more: str) -> subprocess.CompletedProcess[bytes]:
    return run("info", name, env=environment(hub, cache, **more))


def fails(result: subprocess.CompletedProcess[bytes], *words: str) -> None:
    assert result.returncode == 1, result
    lines = result.stderr.decode().splitlines()
    assert lines, result
    assert lines[-1].startswith("t5g-info: error: "), lines
    for word in words:
        assert word in lines[-1]


def test_a_file_is_taken_as_it_is(hub: Hub, gguf: bytes, tmp_path: Path) -> None:
    hub.repositories[REPO] = {"model-q8_0.gguf": gguf, "README.md": b""}
    result = info(hub, tmp_path)
    assert result.returncode == 0, result.stderr
    assert b"t5gemma" in result.stdout
    assert hub.downloads() == ["model-q8_0.gguf"]
    hub.requests.clear()
    assert info(hub, tmp_path).returncode == 0
    assert hub.downloads() == []
    assert info(None, tmp_path).returncode == 0  # nobody answers there
    assert info(None, tmp_path, HF_HUB_OFFLINE="1").returncode == 0


def test_several_files_are_told_apart(hub: Hub, gguf: bytes, tmp_path: Path) -> None:
    hub.repositories[REPO] = {"a-q4_0.gguf": gguf, "a-f16.gguf": gguf, "b-bf16.gguf": gguf}
    fails(info(hub, tmp_path), "several models", f"hf:{REPO}:a-q4_0.gguf")
    assert info(hub, tmp_path, f"hf:{REPO}:F16").returncode == 0
    assert hub.downloads() == ["a-f16.gguf"]
    assert info(hub, tmp_path, f"hf:{REPO}:b-bf16.gguf").returncode == 0
    fails(info(hub, tmp_path, f"hf:{REPO}:c.gguf"), "has no c.gguf", "b-bf16.gguf")
    fails(info(hub, tmp_path, f"hf:{REPO}:huge"), "expected a .gguf file or one of f32")
    hub.repositories[REPO]["a-q8_0.gguf"] = gguf
    assert info(hub, tmp_path / "new").returncode == 0  # the usual type, where nobody says


def test_a_checkpoint_is_converted_once_for_each_type(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.repositories[REPO] = files(folder)
    assert info(hub, tmp_path).returncode == 0
    assert sorted(hub.downloads()) == ["config.json", "model.safetensors"]
    hub.requests.clear()
    result = run("info", f"hf:{REPO}", "--json", env=environment(hub, tmp_path))
    assert f"{COMMIT}-q8_0.gguf".encode() in result.stdout
    assert hub.downloads() == []
    assert info(hub, tmp_path, f"hf:{REPO}:q4_0").returncode == 0
    assert hub.downloads() == []  # the checkpoint is still there
    assert info(None, tmp_path, f"hf:{REPO}:q4_0").returncode == 0
    fails(info(None, tmp_path / "other"), "cannot be reached", "HF_ENDPOINT")
    assert len(list(tmp_path.rglob("*.gguf"))) == 2


def test_other_commands_and_python(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.repositories[REPO] = files(folder)
    variables = environment(hub, tmp_path)
    assert run("convert", f"hf:{REPO}", "-o", tmp_path / "m.gguf", "--type", "f32", env=variables).returncode == 0
    assert run("quantize", f"hf:{REPO}", tmp_path / "q.gguf", "q4_0", env=variables).returncode == 0
    bench = run("bench", f"hf:{REPO}", "--source-tokens", "4", "--new-tokens", "2", "--repeat", "1", env=variables)
    assert bench.returncode == 0, bench.stderr
    code = f"""
import t5g
with t5g.Model.from_pretrained({REPO!r}, revision={COMMIT!r}, type="F32", n_threads=1) as model:
    print(model.n_threads, model.path.name)
with t5g.Model("hf:{REPO}@main:f32") as again:
    print(again.path == model.path)
for wrong in (dict(filename="model.bin"), dict(type="q3"), dict(revision="nowhere"), dict(filename="x.gguf")):
    try:
        t5g.Model.from_pretrained({REPO!r}, **wrong)
    except (ValueError, FileNotFoundError) as error:
        print(error)
"""
    python = [sys.executable, "-c", code]
    out = subprocess.run(python, env=variables, capture_output=True, text=True, timeout=120, check=True).stdout
    assert out.splitlines()[:2] == [f"1 {COMMIT}-f32.gguf", "True"]
    words = ("must be a .gguf file", "must be one of f32", "no revision 'nowhere'", "has no x.gguf")
    for line, word in zip(out.splitlines()[2:], words, strict=True):
        assert word in line


def test_an_adapter_is_converted_once(hub: Hub, folder: Path, gguf: bytes, tmp_path: Path) -> None:
    made = write_adapter(tmp_path / "made", factors({"model.encoder.layers.0.self_attn.q_proj": (64, 64)}))
    hub.repositories |= {REPO: {"m.gguf": gguf}, "some/lora": files(made)}
    command = ("bench", f"hf:{REPO}", "--source-tokens", "4", "--new-tokens", "2", "--repeat", "1")
    for at in (hub, None):
        result = run(*command, "--lora", "hf:some/lora:0.5", env=environment(at, tmp_path / "cache"))
        assert result.returncode == 0, result.stderr
    assert sorted(hub.downloads()) == ["adapter_config.json", "adapter_model.safetensors", "m.gguf"]


@pytest.mark.parametrize(
    ("repo", "words"),
    [
        ("some/other", ("no such repository", "HF_TOKEN")),
        ("some/gated", ("gated", "/some/gated", "HF_TOKEN")),
        ("some/empty", ("neither a .gguf file nor a checkpoint",)),
        ("some/adapter", ("is an adapter",)),
    ],
)
def test_repositories_that_give_nothing(
    hub: Hub, gguf: bytes, tmp_path: Path, repo: str, words: tuple[str, ...]
) -> None:
    hub.repositories |= {"some/gated": {"m.gguf": gguf}, "some/empty": {"README.md": b""}}
    hub.repositories["some/adapter"] = {"adapter_config.json": b"{}", "adapter_model.safetensors": b""}
    hub.gated.add("some/gated")
    fails(info(hub, tmp_path, f"hf:{repo}"), repo, *words)


def test_a_refusal_leaves_what_the_cache_has(hub: Hub, gguf: bytes, tmp_path: Path) -> None:
    hub.repositories[REPO] = {"m.gguf": gguf}
    assert info(hub, tmp_path).returncode == 0
    hub.closed.add(REPO)
    result = info(hub, tmp_path)
    assert result.returncode == 0, result.stderr
    for words in (b"warning: ", b"refuses access (403)", b"What the cache has is used."):
        assert words in result.stderr
    fails(info(hub, tmp_path / "new"), "refuses access (403)", "Accept the licence at", "HF_TOKEN")


def test_the_types_are_those_of_conversions() -> None:
    from t5g.hub import _TYPES
    from t5g_convert.presets import TYPES

    assert set(_TYPES) == set(TYPES)


def test_a_broken_download_leaves_nothing_and_can_be_repeated(hub: Hub, gguf: bytes, tmp_path: Path) -> None:
    hub.repositories[REPO] = {"m.gguf": gguf}
    hub.cut["m.gguf"] = len(gguf) // 2
    result = info(hub, tmp_path)
    fails(result, REPO)
    assert not [path for path in tmp_path.rglob("m.gguf") if path.is_file()]
    hub.cut.clear()
    assert info(hub, tmp_path).returncode == 0


def test_a_full_disk_is_said_to_be_full(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.repositories[REPO] = files(folder)
    result = info_on_a_full_disk(hub, tmp_path, f"hf:{REPO}", 60_000)
    assert result.returncode == 1
    assert b"large" in result.stderr or b"space" in result.stderr, result.stderr
    assert not list(tmp_path.rglob("*.gguf"))


def info_on_a_full_disk(hub: Hub, cache: Path, name: str, n_bytes: int) -> subprocess.CompletedProcess[bytes]:
    """Run t5g-info where no file can have more bytes, which fails in the same calls as a disk that fills up."""
    code = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from t5g.cli import info
resource.setrlimit(resource.RLIMIT_FSIZE, ({n_bytes}, {n_bytes}))
sys.exit(info.main([{name!r}]))
"""
    python = [sys.executable, "-c", code]
    return subprocess.run(python, env=environment(hub, cache), capture_output=True, timeout=120, check=False)


def test_a_disk_that_is_full_after_the_download_keeps_it(hub: Hub, tmp_path: Path) -> None:
    checkpoint = files(Folder.of(t5gemma_config()).write(tmp_path / "hf", "BF16"))
    hub.repositories[REPO] = checkpoint
    n_bytes = len(checkpoint["model.safetensors"]) * 5 // 4  # room for the checkpoint, and not for twice as much
    cache = tmp_path / "cache"
    fails(
        info_on_a_full_disk(hub, cache, f"hf:{REPO}:f32", n_bytes),
        f"f32.gguf: writing failed: File too large. {TOO_LARGE} HF_HOME says where the cache lies.",
    )
    assert not [path for path in cache.rglob("*f32*") if path.is_file()]
    hub.requests.clear()
    assert info(hub, cache, f"hf:{REPO}:f32").returncode == 0
    assert hub.downloads() == []
    assert [path.name for path in cache.rglob("*f32*") if path.is_file()] == [f"{COMMIT}-f32.gguf"]


def test_without_the_package_a_model_says_what_to_install(tmp_path: Path) -> None:
    code = f"import sys; sys.modules['huggingface_hub'] = None; import t5g; t5g.Model('hf:{REPO}')"
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert "pip install 't5g[hub]'" in result.stderr
