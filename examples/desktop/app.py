"""Reads a text, PDF or image and writes about it, all on this machine.

    python examples/desktop/app.py [FILE]

Needs PySide6-Essentials, and pypdf for PDFs and Pillow for images (pip install PySide6-Essentials pypdf Pillow).
--once FILE summarises a file, prints the summary, and ends: to try a frozen program out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PySide6.QtCore import QStandardPaths
from PySide6.QtWidgets import QApplication
from window import Window


def once(window: Window, file: Path) -> None:
    """Summarise one file as a person would, print what came, and close."""

    def summarise() -> None:
        window.finished.disconnect()
        window.finished.connect(print_and_close)
        window.open_file(file)
        window.summarise()

    def print_and_close() -> None:
        print(window.answer.toPlainText())
        window.close()

    window.finished.connect(summarise)


def main() -> int:
    """Show the window until it is closed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--once", action="store_true", help="summarise the file, print the summary and end")
    parser.add_argument("--data", type=Path, help="where saved sources go (default: the system's place for such)")
    arguments = parser.parse_args()
    app = QApplication(sys.argv[:1])
    app.setApplicationName("t5g-desktop")
    place = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.AppDataLocation)
    window = Window(arguments.data or Path(place))
    if arguments.once and arguments.file:
        once(window, arguments.file)
    elif arguments.file:
        window.open_file(arguments.file)
    window.show()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main())
