"""The window: a document or image on top, what is written about it below, earlier sources at the side."""

from __future__ import annotations

from pathlib import Path

from documents import NAME_FILTER, Document, read
from history import Entry, History
from PySide6.QtCore import Qt, QThread, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QPixmap, QTextCursor
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMainWindow,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)
from worker import Request, Worker

BUNDLED, OTHER = "Small summariser (comes with t5g)", "Choose a model file ..."
IMAGE_HEIGHT = 240


class Window(QMainWindow):
    """Everything that people see. What takes time is done by the worker."""

    open_model = Signal(object)
    write = Signal(object)
    finished = Signal(bool)  # with whether it went well

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.setWindowTitle("t5g: read, then write")
        self.resize(1000, 720)
        self.setAcceptDrops(True)
        self._history = History(folder)
        self._document = Document("the text")
        self._is_ready = False
        self._model_in_use: Path | None = None
        self._make_widgets()
        self._start_worker()
        for entry in self._history.entries():
            self._list(entry)
        self.choose_model(None)

    # ---- Made once ----

    def _make_widgets(self) -> None:
        self.models = QComboBox()
        self.models.addItem(BUNDLED, None)
        self.models.addItem(OTHER, OTHER)
        self.models.activated.connect(self._model_chosen)
        self.open_button, self.new_button = QPushButton("&Open ..."), QPushButton("&New")
        self.open_button.clicked.connect(self._ask_for_file)
        self.new_button.clicked.connect(lambda: self._show(Document("the text")))
        self.text = QPlainTextEdit(placeholderText="Write or paste a text, or drop a text, PDF or image here.")
        self.text.setAcceptDrops(False)  # the window takes them
        self.image = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        self.image.hide()
        self.question = QLineEdit(placeholderText="A question about it")
        self.question.returnPressed.connect(self.ask)
        self.summarise_button, self.ask_button = QPushButton("&Summarise"), QPushButton("&Ask")
        self.stop_button = QPushButton("S&top")
        self.summarise_button.clicked.connect(self.summarise)
        self.ask_button.clicked.connect(self.ask)
        self.stop_button.clicked.connect(lambda: self._worker.stop())
        self.answer = QPlainTextEdit(readOnly=True, placeholderText="What the model writes.")
        self.progress = QProgressBar(textVisible=False)
        self.progress.setRange(0, 1)
        self.progress.setFixedWidth(160)
        self.history = QListWidget()
        self.history.itemActivated.connect(self._again)
        self.history.setToolTip("What was read before: double-click to write about it again, without reading it again.")
        self.statusBar().addPermanentWidget(self.progress)
        self._lay_out()
        self._show_state(busy=False)

    def _lay_out(self) -> None:
        top, asking = QHBoxLayout(), QHBoxLayout()
        for widget in (self.open_button, self.new_button, QLabel("Model:")):
            top.addWidget(widget)
        top.addWidget(self.models, 1)
        for widget in (self.question, self.ask_button, self.summarise_button, self.stop_button):
            asking.addWidget(widget)
        upper, lower = QWidget(), QWidget()
        for part, rows in ((upper, (top, self.text, self.image, asking)), (lower, (self.answer,))):
            column = QVBoxLayout(part)
            for row in rows:
                column.addLayout(row) if isinstance(row, QHBoxLayout) else column.addWidget(row)
        side = QWidget()
        column = QVBoxLayout(side)
        column.addWidget(QLabel("Read before"))
        column.addWidget(self.history)
        main, whole = QSplitter(Qt.Orientation.Vertical), QSplitter()
        for part in (upper, lower):
            main.addWidget(part)
        for part in (side, main):
            whole.addWidget(part)
        main.setSizes([420, 300])
        whole.setSizes([230, 770])
        self.setCentralWidget(whole)

    def _start_worker(self) -> None:
        self._thread = QThread()
        self._worker = Worker(self._history)
        self._worker.moveToThread(self._thread)
        self.open_model.connect(self._worker.open)
        self.write.connect(self._worker.write)
        # Methods of the window run in its thread; a lambda would run in the worker's, which may touch no widget.
        self._worker.loaded.connect(self._loaded)
        self._worker.refused.connect(self._refused)
        self._worker.stage.connect(self.statusBar().showMessage)
        self._worker.progress.connect(self._show_progress)
        self._worker.piece.connect(self._append)
        self._worker.saved.connect(self._list_on_top)
        self._worker.finished.connect(self._done)
        self._worker.failed.connect(self._failed)
        self._thread.start()

    # ---- What people do ----

    def open_file(self, path: Path) -> bool:
        """Show a document; what cannot be read is said in the status line."""
        try:
            document = read(path)
        except (OSError, ValueError) as error:
            self.statusBar().showMessage(str(error))
            return False
        self._show(document)
        self.statusBar().showMessage(f"{document.name} is open.")
        return True

    def _show(self, document: Document) -> None:
        self._document = document
        self.text.setPlainText(document.text)
        self.text.setVisible(document.image is None)
        self.image.setVisible(document.image is not None)
        if document.image is not None:
            pixmap = QPixmap(str(document.image))
            if pixmap.isNull():  # t5g may still be able to read it, and says what is wrong if not
                self.image.setText(document.name)
            else:
                self.image.setPixmap(pixmap.scaledToHeight(IMAGE_HEIGHT, Qt.TransformationMode.SmoothTransformation))

    def choose_model(self, path: Path | None) -> None:
        """Have the worker open a model."""
        self._is_ready = False
        self._show_state(busy=True)
        self.statusBar().showMessage("Opening the model ...")
        self.open_model.emit(path)

    def summarise(self) -> None:
        self._ask_for("")

    def ask(self) -> None:
        if question := self.question.text().strip():
            self._ask_for(question)
        else:
            self.statusBar().showMessage("Write a question first.")

    def _ask_for(self, question: str) -> None:
        if self._is_busy:  # Enter in the line of questions comes at any time
            return
        document = self._document
        if document.image is None:
            document = Document(document.name, self.text.toPlainText())
            if not document.text.strip():
                self._done("There is no text yet. Write one, or open a file.", well=False)
                return
        self._begin(Request(document, question))

    def _again(self, item: QListWidgetItem) -> None:
        self._begin(Request(self._document, saved=item.data(Qt.ItemDataRole.UserRole)))

    def _begin(self, request: Request) -> None:
        if not self._is_ready:
            return
        self.answer.clear()
        self._show_state(busy=True)
        self.write.emit(request)

    def _ask_for_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open", "", NAME_FILTER)
        if name:
            self.open_file(Path(name))

    def _model_chosen(self, index: int) -> None:
        chosen = self.models.itemData(index)
        if chosen != OTHER:
            self.choose_model(chosen)
            return
        name, _ = QFileDialog.getOpenFileName(self, "Choose a model", "", "Models (*.gguf)")
        self._show_model(self._model_in_use)
        if name:
            self.choose_model(Path(name))

    def _show_model(self, path: Path | None) -> None:
        """Let the list of models show the one in use, which has a place in it from then on."""
        known = [self.models.itemData(i) for i in range(self.models.count())]
        if path not in known:
            self.models.insertItem(1, path.name, path)
        self.models.setCurrentIndex(known.index(path) if path in known else 1)

    # ---- What the worker says ----

    def _loaded(self, path: Path | None, name: str) -> None:
        self._is_ready, self._model_in_use = True, path
        self._show_model(path)
        self._done(f"{name} is ready.")

    def _refused(self, message: str, has_another: bool) -> None:
        """Go on with the model that was in use before, if there was one."""
        self._is_ready = has_another
        self._show_model(self._model_in_use)
        self._done(message, well=False)

    def _append(self, piece: str) -> None:
        """Write at the end, wherever somebody has put the cursor meanwhile."""
        end = QTextCursor(self.answer.document())
        end.movePosition(QTextCursor.MoveOperation.End)
        end.insertText(piece)

    def _show_progress(self, done: int, total: int) -> None:
        self.progress.setRange(0, total if done < total else 0)
        self.progress.setValue(done)

    def _done(self, message: str, *, well: bool = True) -> None:
        self._show_state(busy=False)
        self.statusBar().showMessage(message)
        self.finished.emit(well)

    def _failed(self, message: str) -> None:
        self._done(message, well=False)

    def _list_on_top(self, entry: Entry) -> None:
        self._list(entry, on_top=True)

    def _list(self, entry: Entry, on_top: bool = False) -> None:
        for row in reversed(range(self.history.count())):
            if self.history.item(row).data(Qt.ItemDataRole.UserRole).key == entry.key:
                self.history.takeItem(row)
        item = QListWidgetItem(entry.title)
        item.setToolTip(f"{entry.n_tokens} tokens, read with {Path(entry.model).name}")
        item.setData(Qt.ItemDataRole.UserRole, entry)
        self.history.insertItem(0 if on_top else self.history.count(), item)

    def _show_state(self, *, busy: bool) -> None:
        self._is_busy = busy
        self.progress.setRange(0, 0 if busy else 1)  # a range of nothing moves to and fro
        for widget in (self.summarise_button, self.ask_button, self.models, self.history):
            widget.setEnabled(not busy)
        self.stop_button.setEnabled(busy)

    # ---- Qt's own ----

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        for url in event.mimeData().urls()[:1]:
            self.open_file(Path(url.toLocalFile()))

    def closeEvent(self, event: QCloseEvent) -> None:
        self._worker.stop()
        self._thread.quit()
        self._thread.wait()
        self._worker.close()
        event.accept()
