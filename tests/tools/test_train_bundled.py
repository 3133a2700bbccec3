"""The training tools' pure parts: splits never share a family, damage is real, denoising loses nothing."""

import random
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "train_bundled"


@pytest.fixture(autouse=True)
def tools_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    yield
    for name in ("data", "tasks", "tokenizer"):
        sys.modules.pop(name, None)


@pytest.fixture
def tasks():
    for module in ("torch", "sentencepiece", "transformers"):
        pytest.importorskip(module)
    import tasks

    return tasks


def test_description_paragraphs_become_lines_and_verbatim_lines_stay_apart():
    from data import split_description

    value = "short line\n first\n half\n .\n second\n  * item\n rest"
    assert split_description(value) == ("short line", "first half\nsecond\n* item\nrest")


def test_descriptions_linked_by_origin_paragraph_or_synopsis_share_a_split():
    from data import Description, family_splits

    items = []
    for i in range(200):
        word = "".join(chr(97 + int(digit)) for digit in f"{i:03}")
        items += [
            Description(f"tool{word}-1.2", f"a {word} tool", f"{word} reads files.\nMore."),
            Description(f"tool{word}-3", "other", f"{word} writes files."),
            Description(f"fork{word}", "third", f"{word} reads files!\nForked."),
            Description(f"port{word}", f"a {word} tool (port)", f"{word} ported."),
        ]
    items = [d._replace(synopsis=f"{d.synopsis} {d.origin}") if d.synopsis in ("other", "third") else d for d in items]
    splits = family_splits(items)
    for i in range(0, len(items), 4):
        assert len(set(splits[i : i + 4])) == 1
    assert set(splits) == {"train", "valid", "test"}
    assert splits == family_splits(items)


@pytest.mark.oracle
def test_damage_changes_nearly_every_text_and_keeps_the_number_of_words(tasks):
    text = "The quick brown fox, which is Swedish, jumps over (lazy) dogs."
    damaged = [tasks.damage(text, random.Random(i)) for i in range(100)]
    assert all(len(d.split()) == len(text.split()) for d in damaged)
    assert sum(d != text for d in damaged) >= 95


@pytest.mark.oracle
def test_denoising_source_and_target_together_hold_the_text(tasks):
    sentinels = list(range(1000, 1024))
    for seed in range(300):
        ids = list(range(24 + seed % 100))
        source, target = tasks.denoise(ids, sentinels, random.Random(seed))
        kept = {i for i in source + target if i < 1000}
        assert kept <= set(ids)
        marks = [i for i in source if i >= 1000]
        assert marks == [i for i in target if i >= 1000]
        if len(marks) > 1:
            assert sorted(i for i in source + target if i < 1000) == ids


@pytest.mark.oracle
def test_collate_shifts_the_target_by_one_and_masks_padding(tasks):
    batch = tasks.collate([([7, 8, 9], [5]), ([7], [5, 6])])
    assert batch.source.tolist() == [[2, 7, 8, 9], [2, 7, 0, 0]]
    assert batch.source_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.target.tolist() == [[2, 5, 0], [2, 5, 6]]
    assert batch.labels.tolist() == [[5, 1, -100], [5, 6, 1]]
