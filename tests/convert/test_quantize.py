"""GGUF to GGUF: the same file as converting directly, and nothing lost that does not change type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import t5g
from support import folders
from support.folders import Folder

gguf = pytest.importorskip("gguf")

from t5g.cli._conversion import TYPES_HELP  # noqa: E402
from t5g_convert.presets import TYPES  # noqa: E402

CONFIGS = {"t5gemma": folders.t5gemma_config(), "t5gemma2": folders.t5gemma2_config()}


GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture(scope="module", params=CONFIGS)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder, and its f32 file beside it."""
    folder = Folder.of(CONFIGS[request.param]).write(tmp_path_factory.mktemp("source") / "hf")
    t5g.convert(folder, folder.with_suffix(".gguf"), type="f32")
    return folder


def test_the_converter_has_every_type_that_the_library_reads() -> None:
    from support.testing_module import kernels

    known = {name.lower(): rest for name, *rest in kernels.types()}
    assert {t.name: [t.gguf_id, t.block_values, t.block_bytes] for t in TYPES.values()} == known
    assert " ".join(TYPES) in TYPES_HELP


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("type_", TYPES)
def test_equals_converting_directly(source: Path, tmp_path: Path, type_: str, pure: bool) -> None:
    t5g.quantize(source.with_suffix(".gguf"), tmp_path / "a.gguf", type_.upper(), pure=pure)
    t5g.convert(source, tmp_path / "b.gguf", type=type_, pure=pure)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_from_quantised_is_what_gguf_makes_of_the_decoded_values(source: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.gguf", tmp_path / "b.gguf"
    t5g.convert(source, first, type="q8_0")
    summary = t5g.quantize(first, second, "q4_1", pure=True)
    assert any("already quantised (q8_0)" in note for note in summary.notes)
    before = {t.name: t for t in gguf.GGUFReader(first).tensors}
    for tensor in gguf.GGUFReader(second).tensors:
        old = before[tensor.name]
        data = np.array(old.data)
        if tensor.tensor_type != old.tensor_type:
            assert tensor.tensor_type == gguf.GGMLQuantizationType.Q4_1
            data = gguf.quants.quantize(gguf.quants.dequantize(data, old.tensor_type), tensor.tensor_type)
        assert np.array(tensor.data).tobytes() == data.tobytes(), tensor.name


def test_matrices_that_no_quantised_type_fits_are_told_as_by_the_converter(tmp_path: Path) -> None:
    summary = t5g.quantize(GOLDENS / "v2-gqa-w5.gguf", tmp_path / "a.gguf", "q8_0", dry_run=True)
    kept = [t.name for t in summary.tensors if t.type in ("f16", "bf16") and len(t.shape) > 1]
    (note,) = summary.notes
    assert note.startswith(f"Kept in 16 bits, for rows that are not a multiple of 32 long: tensors '{kept[0]}'")
    assert note.endswith(f" and {len(kept) - 3} more.")
    assert t5g.quantize(GOLDENS / "v2-gqa-w5.gguf", tmp_path / "a.gguf", "bf16", dry_run=True).notes == ()


def test_same_type_copies_every_byte(source: Path, tmp_path: Path) -> None:
    t5g.convert(source, tmp_path / "a.gguf", type="q5_0")
    summary = t5g.quantize(tmp_path / "a.gguf", tmp_path / "b.gguf", "q5_0")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert not any("already quantised" in note for note in summary.notes)


def test_dry_run_tells_what_would_be_written_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    plan = t5g.quantize(source.with_suffix(".gguf"), tmp_path / "a.gguf", "q4_0", dry_run=True)
    assert plan.size_bytes == 0
    assert list(tmp_path.iterdir()) == []
    done = t5g.quantize(source.with_suffix(".gguf"), tmp_path / "a.gguf", "q4_0")
    assert done.tensors == plan.tensors
    assert {tensor.source_type for tensor in plan.tensors} == {"f32"}


def test_unknown_metadata_survive(source: Path, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "t5gemma")
    for side in ("encoder", "decoder"):
        writer.add_uint32(f"t5gemma.{side}.embedding_length", 64)
    writer.add_string("my.text", "caf\u00e9")
    writer.add_key_value("my.long", -(1 << 40), gguf.GGUFValueType.INT64)
    writer.add_key_value("my.list", [1.5, -2.5], gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.FLOAT64)
    writer.add_array("my.texts", ["a", "", "\u2581b"])
    writer.add_tensor("my.table", np.ones((4, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    t5g.quantize(tmp_path / "a.gguf", tmp_path / "b.gguf", "q8_0")
    reader = gguf.GGUFReader(tmp_path / "b.gguf")
    found = {key: reader.get_field(key).contents() for key in ("my.text", "my.long", "my.list", "my.texts")}
    assert found == {
        "my.text": "caf\u00e9",
        "my.long": -(1 << 40),
        "my.list": [1.5, -2.5],
        "my.texts": ["a", "", "\u2581b"],
    }
    assert reader.tensors[0].tensor_type == gguf.GGMLQuantizationType.F32


def test_other_files_are_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "llama.gguf", "llama")
    writer.add_tensor("x", np.ones((4, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(t5g.ModelFormatError, match=r"llama\.gguf: the architecture is 'llama'"):
        t5g.quantize(tmp_path / "llama.gguf", tmp_path / "b.gguf", "q8_0")
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(t5g.ModelFormatError, match=r"text\.gguf"):
        t5g.quantize(tmp_path / "text.gguf", tmp_path / "b.gguf", "q8_0")
    with pytest.raises(FileNotFoundError):
        t5g.quantize(tmp_path / "none.gguf", tmp_path / "b.gguf", "q8_0")
    assert not (tmp_path / "b.gguf").exists()


def test_input_is_never_overwritten(source: Path, tmp_path: Path) -> None:
    path = source.with_suffix(".gguf")
    before = path.read_bytes()
    (tmp_path / "link.gguf").symlink_to(path)
    for name in (path, tmp_path / "link.gguf"):
        with pytest.raises(ValueError, match="is the input"):
            t5g.quantize(path, name, "q8_0")
    assert path.read_bytes() == before
