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


def once(app: QApplication, window: Window, file: Path) -> None:
    """Summarise one file as a person would, print what came, and end: with status 1 where nothing did."""

    def summarise(has_model: bool) -> None:
        window.finished.disconnect()
        window.finished.connect(end)
        if has_model and window.open_file(file):
            window.summarise()
        else:
            end(well=False)

    def end(well: bool) -> None:
        if well:
            print(window.answer.toPlainText())
        else:
            print(window.statusBar().currentMessage(), file=sys.stderr)
        window.close()
        app.exit(0 if well else 1)

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
        once(app, window, arguments.file)
    elif arguments.file:
        window.open_file(arguments.file)
    window.show()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main())
