"""Files that people open or drop: texts, PDFs (with pypdf) and images, each to what a model reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
NAME_FILTER = "Texts, PDFs and images (*.txt *.md *.pdf *.png *.jpg *.jpeg *.webp *.bmp *.gif);;All files (*)"


@dataclass(frozen=True)
class Document:
    """A text, or an image."""

    name: str
    text: str = ""
    image: Path | None = None


def read(path: Path) -> Document:
    """Read a file. Raises OSError, and ValueError with words for people where nothing can be made of it."""
    suffix = path.suffix.lower()
    if suffix in IMAGES:
        return Document(path.name, image=path)
    if suffix == ".pdf":
        return Document(path.name, _text_of_pdf(path))
    try:
        return Document(path.name, path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text in UTF-8. Texts, PDFs and images can be opened.") from error


def _text_of_pdf(path: Path) -> str:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise ValueError("PDFs need the package pypdf: pip install pypdf") from error
    try:
        text = "\n\n".join(page.extract_text().strip() for page in PdfReader(path).pages).strip()
    except PyPdfError as error:
        raise ValueError(f"{path.name} is no PDF that can be read: {error}") from error
    if not text:
        raise ValueError(f"{path.name} has no text: its pages are images. Open an image of a page instead.")
    return text
