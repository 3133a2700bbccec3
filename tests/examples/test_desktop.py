"""The desktop example: a window that is never frozen, whatever the model is doing. Runs without a screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import t5g
from support.frozen import need_pyinstaller

pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)  # also where a library of the system is missing
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
APP = Path(__file__).resolve().parents[2] / "examples" / "desktop"
TEXT = "This package contains a small tool that renames many files at once, with counters and dates."


def pdf(line: str) -> bytes:
    """One page with one line of text, as small as a PDF can be."""
    drawn = f"BT /F1 12 Tf 72 700 Td ({line}) Tj ET"
    page = "/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R{page}>>",
        f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    data, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 6\n0000000000 65535 f \n{table}trailer<</Root 1 0 R/Size 6>>\nstartxref\n{len(data)}\n%%EOF\n"
    return (data + end).encode()


@pytest.fixture(scope="module")
def modules() -> Iterator[Any]:
    sys.path.insert(0, str(APP))
    import documents
    import history
    import window

    yield type("Modules", (), {"documents": documents, "history": history, "window": window})
    sys.path.remove(str(APP))


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    from PySide6.QtWidgets import QApplication

    app = QApplication([])
    yield app
    app.shutdown()


@pytest.fixture
def window(modules: Any, app: Any, tmp_path: Path) -> Iterator[Any]:
    window = modules.window.Window(tmp_path / "data")
    window.show()
    wait(window)
    assert window.statusBar().currentMessage() == "bundled.gguf is ready."
    yield window
    window.close()
    window.deleteLater()
    app.processEvents()


def wait(window: Any, seconds: int = 60) -> None:
    """Let the window work until the worker has ended something."""
    from PySide6.QtCore import QEventLoop, QTimer

    loop, timer = QEventLoop(), QTimer(singleShot=True, interval=seconds * 1000)
    window.finished.connect(loop.quit)
    timer.timeout.connect(lambda: loop.exit(1))
    timer.start()
    assert loop.exec() == 0, "nothing came"


def screenshot_of(window: Any, path: Path) -> Any:
    """A screenshot, which is not empty."""
    image = window.grab().toImage()
    assert image.save(str(path))
    colours = {image.pixel(x, y) for x in range(0, image.width(), 7) for y in range(0, image.height(), 7)}
    assert len(colours) > 5
    return image


def test_summarising(window: Any, tmp_path: Path) -> None:
    (tmp_path / "tool.txt").write_text(TEXT)
    window.open_file(tmp_path / "tool.txt")
    window.summarise()
    assert window.stop_button.isEnabled()
    assert not window.summarise_button.isEnabled()
    wait(window)
    with t5g.Model() as model:
        assert window.answer.toPlainText() == model.generate(TEXT).text
    assert window.statusBar().currentMessage().startswith("Done: ")
    assert not window.stop_button.isEnabled()
    assert window.history.count() == 1
    screenshot_of(window, tmp_path / "summary.png")

    # Again from the side, without reading, also after a restart; and the same source is listed once.
    first = window.answer.toPlainText()
    window.history.itemActivated.emit(window.history.item(0))
    wait(window)
    assert window.answer.toPlainText() == first
    window.summarise()
    wait(window)
    assert window.history.count() == 1


def test_the_window_answers_while_the_model_works(window: Any) -> None:
    from PySide6.QtCore import QTimer

    window.text.setPlainText(TEXT * 30)
    ticks = []
    timer = QTimer(interval=0)  # whenever the window has nothing else to do
    timer.timeout.connect(lambda: ticks.append(window.stop_button.isEnabled()))
    timer.start()
    window.summarise()
    wait(window)
    assert sum(ticks) >= 3  # while it was busy


def test_stopping(window: Any) -> None:
    window.text.setPlainText(TEXT * 20)
    window._worker.piece.connect(window.stop_button.click)
    window.ask_button.setFocus()
    window.question.setText("What is it?")
    window.ask()
    wait(window)
    assert window.statusBar().currentMessage().startswith(("Stopped", "Done"))
    assert window.summarise_button.isEnabled()


def test_widgets_are_touched_by_their_own_thread_alone(window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for name in ("_list", "_done", "_append", "_show_progress"):
        real = getattr(type(window), name)

        def watched(self: Any, *arguments: Any, _real: Any = real, **more: Any) -> None:
            seen.append(self.thread().isCurrentThread())
            _real(self, *arguments, **more)

        monkeypatch.setattr(type(window), name, watched)
    window._worker.failed.emit("from this thread")
    window.text.setPlainText(TEXT)
    window.summarise()
    wait(window)
    assert len(seen) >= 2
    assert all(seen)


def test_dropping_a_pdf(window: Any, tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
    from PySide6.QtGui import QDropEvent

    (tmp_path / "tool.pdf").write_bytes(pdf("A tool that renames many files."))
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "tool.pdf"))])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    window.dropEvent(QDropEvent(QPoint(5, 5), Qt.DropAction.CopyAction, data, buttons, keys))
    assert window.text.toPlainText() == "A tool that renames many files."


def test_an_image_and_a_model_without_eyes(window: Any, tmp_path: Path) -> None:
    shutil.copy(APP.parent / "shape.jpg", tmp_path / "shape.jpg")
    window.open_file(tmp_path / "shape.jpg")
    assert window.image.isVisible()
    assert not window.text.isVisible()
    screenshot_of(window, tmp_path / "image.png")
    window.summarise()
    wait(window)
    assert "images" in window.statusBar().currentMessage()


def test_stopping_while_a_source_is_read(window: Any) -> None:
    from PySide6.QtCore import Qt

    window.text.setPlainText(TEXT * 150)
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        window._worker.stop()  # as the button does

    window._worker.progress.connect(stop, Qt.ConnectionType.DirectConnection)  # while the worker waits
    window.summarise()
    wait(window)
    assert len(seen) == 1
    assert seen[0][0] < seen[0][1]
    assert window.statusBar().currentMessage() == "Stopped."
    assert window.answer.toPlainText() == ""
    assert window.history.count() == 0


def test_the_answer_grows_at_its_end(window: Any) -> None:
    from PySide6.QtCore import QObject
    from PySide6.QtGui import QTextCursor

    class Hand(QObject):
        def move(self, piece: str) -> None:
            assert window.thread().isCurrentThread()
            window.answer.moveCursor(QTextCursor.MoveOperation.Start)

    hand = Hand()
    window._worker.piece.connect(hand.move)
    window.text.setPlainText(TEXT)
    window.summarise()
    window.question.setText("And what else?")
    window.question.returnPressed.emit()  # which is not the time for it
    wait(window)
    with t5g.Model() as model:
        assert window.answer.toPlainText() == model.generate(TEXT).text


def test_a_model_that_cannot_be_opened_leaves_the_one_in_use(window: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    window.choose_model(tmp_path / "broken.gguf")
    wait(window)
    assert "damaged" in window.statusBar().currentMessage()
    assert window.models.currentIndex() == 0
    window.text.setPlainText(TEXT)
    window.summarise()
    wait(window)
    assert window.statusBar().currentMessage().startswith("Done: ")
    shutil.copy(window._worker._model.path, tmp_path / "mine.gguf")
    window.choose_model(tmp_path / "mine.gguf")
    wait(window)
    assert window.models.currentText() == "mine.gguf"


def test_an_answer_comes_where_nothing_can_be_kept(window: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder would be")
    window.text.setPlainText(TEXT)
    window.summarise()
    wait(window)
    assert window.statusBar().currentMessage().startswith("Done: ")
    assert "Not kept for later" in window.statusBar().currentMessage()
    assert window.answer.toPlainText()


def test_from_an_image_back_to_a_text(window: Any, tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG")
    assert window.open_file(tmp_path / "damaged.png")
    assert window.image.text() == "damaged.png"
    window.new_button.click()
    assert window.text.isVisible()
    assert not window.image.isVisible()


@pytest.mark.parametrize(("name", "told"), [("nothing.txt", "No such file"), ("empty.txt", "There is no text yet")])
def test_once_ends_also_where_there_is_nothing_to_summarise(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "empty.txt").touch()
    result = subprocess.run(
        [sys.executable, APP / "app.py", "--once", tmp_path / name, "--data", tmp_path / "data"],
        env=os.environ | {"PYTHONPATH": str(Path(t5g.__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert told in result.stderr


def test_what_cannot_be_read_is_said(window: Any, tmp_path: Path, modules: Any) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4\n")
    for name, words in {"latin.txt": "no text in UTF-8", "nothing.txt": "No such file", "broken.pdf": "PDF"}.items():
        window.open_file(tmp_path / name)
        assert words in window.statusBar().currentMessage()
    window.text.clear()
    window.summarise()
    assert window.statusBar().currentMessage().startswith("There is no text yet")
    window.ask()
    assert window.statusBar().currentMessage() == "Write a question first."
    window.choose_model(tmp_path / "nothing.gguf")
    wait(window)
    assert "no such file" in window.statusBar().currentMessage()
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "sources.json").write_text("[{]")
    assert modules.history.History(tmp_path / "list").entries() == []


@pytest.mark.slow
def test_it_can_be_frozen(tmp_path: Path) -> None:
    need_pyinstaller()
    from t5g._pyinstaller import get_hook_dirs

    packages = Path(t5g.__file__).resolve().parents[1]
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR", "--windowed",
         "--additional-hooks-dir", *get_hook_dirs(), "--distpath", tmp_path / "dist",
         "--workpath", tmp_path / "work", "--specpath", tmp_path,
         APP / "app.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(packages), "PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")},
        check=True,
        timeout=900,
    )  # fmt: skip
    shutil.move(tmp_path / "dist" / "app", tmp_path / "moved")
    size = sum(path.stat().st_size for path in (tmp_path / "moved").rglob("*") if not path.is_symlink())
    print(f"frozen: {size / 1e6:.0f} MB")
    (tmp_path / "tool.txt").write_text(TEXT)
    result = subprocess.run(
        [tmp_path / "moved" / "app", "--once", tmp_path / "tool.txt", "--data", tmp_path / "data"],
        env={"LC_ALL": "C.UTF-8", "QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    with t5g.Model() as model:
        assert result.stdout == model.generate(TEXT).text + "\n", result.stderr
