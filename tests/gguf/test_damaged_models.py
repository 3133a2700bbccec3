"""Model files whose structure is sound but whose content is not: hyper-parameters, ids, names and shapes that lie."""

import math
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import t5g
from support.raw_gguf import CODES
from t5g import _core

GOLDENS = Path(__file__).parents[1] / "goldens"
INTEGERS = (0, 1, 2, 3, 5, 255, 2**20, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -1.0, 1e-30, 1e38, math.nan, math.inf)
N_FLIPS = 150
MAX_IMAGE_SIZE = 1000


def changes(content: bytes, file: _core.GgufFile) -> list[tuple[str, int, bytes]]:
    """(name, offset, new bytes): wrong scalars and ends of arrays, lost keys, random bits."""
    found = []
    for key in file.keys():  # noqa: SIM118 (not a dict)
        encoded = key.encode()
        at = content.index(struct.pack("<Q", len(encoded)) + encoded) + 8
        found.append((f"{key} is missing", at, b"~"))
        stored, value_at = file.stored_value(key), at + len(encoded)
        type_id = struct.unpack_from("<I", stored)[0]
        if type_id in CODES:
            values = FLOATS if CODES[type_id] in "fd" else (0, 1) if CODES[type_id] == "?" else INTEGERS
            for value in values:
                found.append((f"{key} = {value}", value_at + 4, struct.pack("<" + CODES[type_id], value)))
        elif file.value_type(key) == "string":
            found.append((f"{key} is no UTF-8", value_at + 12, b"\xff\n"))
        else:
            for position in (16, len(stored) - 4):
                for filler in (b"\0\0\0\0", b"\xff\xff\xff\x7f"):
                    found.append((f"{key} at {position} = {filler!r}", value_at + position, filler))
    rng = random.Random(0)
    end_of_header = min(tensor.offset for tensor in file.tensors)
    for begin in (24, value_at + len(stored)):  # all of it; the tensor list
        for _ in range(N_FLIPS):
            at = rng.randrange(begin, end_of_header)
            found.append((f"bit of byte {at}", at, bytes([content[at] ^ (1 << rng.randrange(8))])))
    return found


def look_at_an_image(model: t5g.Model) -> bool:
    """Whether the model, as the file describes it, can see."""
    vision, token = model.config.vision, model.config.image_token_index
    if vision is None or vision.image_size > MAX_IMAGE_SIZE or token is None:
        return False
    pixels = np.zeros((vision.image_size, vision.image_size, 3), np.uint8)
    model._native.encode([token] * vision.mm_tokens_per_image, images=[pixels])
    return True


@pytest.mark.parametrize("golden", ["v1-mqa-w5", "v2-gqa-w5", "v2-images"])
def test_a_model_file_that_lies_loads_or_is_refused_in_one_line(tmp_path, golden):
    source = GOLDENS / f"{golden}.gguf"
    content = source.read_bytes()
    path = tmp_path / "lying.gguf"
    messages, n_looked = [], 0
    for name, at, replacement in changes(content, _core.GgufFile(source)):
        damaged = bytearray(content)
        damaged[at : at + len(replacement)] = replacement
        path.write_bytes(damaged)
        try:
            with t5g.Model(path, n_threads=1) as model:
                model.generate([2, 5, 6, 7], max_new_tokens=2)
                n_looked += look_at_an_image(model)
        except t5g.T5gError as e:
            messages.append((name, isinstance(e, t5g.ModelFormatError), str(e)))
    assert len(messages) > 150
    assert (n_looked > 100) == (golden == "v2-images")
    for name, names_file, message in messages:
        assert message.isprintable(), name
        assert message.startswith(f"{path}: ") or not names_file, name


@pytest.mark.parametrize("key", ["clip.vision.image_mean", "clip.vision.image_std"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_pixels_cannot_be_normalised_to_what_is_no_number(tmp_path, key, value):
    content = bytearray((GOLDENS / "v2-images.gguf").read_bytes())
    values_at = content.index(key.encode()) + len(key) + 16  # after the types of array and elements, and their count
    struct.pack_into("<f", content, values_at, value)
    path = tmp_path / "lying.gguf"
    path.write_bytes(content)
    with pytest.raises(t5g.ModelFormatError, match=key):
        t5g.Model(path)
