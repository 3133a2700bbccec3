"""The documentation: links lead somewhere, figures are those that were measured, and README's code runs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from t5g_convert.presets import TYPES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SPEED = RESULTS / "2026-11-22" / "speed.json"  # the comparison that docs/performance.md shows
PAGES = [
    *ROOT.glob("*.md"),
    *(path for folder in ("docs", "benchmarks", "tools") for path in (ROOT / folder).rglob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: Path) -> list[tuple[str, ...]]:
    """All rows of a page's tables."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {link}: no such file"
        assert not anchor or anchor in anchors(target), f"{page}: {link}: no such heading"


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            links = LINK.findall(without_code(page.read_text(encoding="utf-8")))
            ahead += [(page.parent / link.partition("#")[0]).resolve() for link in links if "://" not in link]
    assert set((ROOT / "docs").rglob("*.md")) <= seen


def test_the_table_of_speeds_is_the_one_that_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "compare"))
    from report import markdown

    try:
        table = markdown(json.loads(SPEED.read_text(encoding="utf-8")))
    finally:
        for name in ("report", "work"):
            sys.modules.pop(name, None)
    assert table in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_figures_of_the_readme_are_in_the_table_of_speeds() -> None:
    speeds = {row[-4:] for row in rows(ROOT / "docs" / "performance.md") if len(row) == 7}
    readme = rows(ROOT / "README.md")
    begin = readme.index(("", "t5g", "llama.cpp", "CTranslate2", "transformers")) + 2
    for row in readme[begin : begin + 4]:
        assert row[1:] in speeds, row


def test_the_readme_lists_every_type() -> None:
    (types,) = (row[1] for row in rows(ROOT / "README.md") if row[0] == "types")
    assert types.split() == list(TYPES)


def test_every_file_of_results_tells_its_date() -> None:
    files = list(RESULTS.rglob("*.json"))
    assert SPEED in files
    for file in files:
        facts = json.loads(file.read_text(encoding="utf-8"))
        assert facts["date"] == file.parent.name, file
        assert facts["rows"], file
