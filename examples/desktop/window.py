"""The window: a document or image on top, what is written about it below, earlier sources at the side."""

from __future__ import annotations

from pathlib import Path

from documents import NAME_FILTER, Document, read
from history import Entry, History
from PySide6.QtCore import Qt, QThread, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QPixmap
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
    finished = Signal()

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.setWindowTitle("t5g: read, then write")
        self.resize(1000, 720)
        self.setAcceptDrops(True)
        self._history = History(folder)
        self._document = Document("the text")
        self._is_ready = False
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
        self.open_button = QPushButton("&Open ...")
        self.open_button.clicked.connect(self._ask_for_file)
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
        for widget in (self.open_button, QLabel("Model:")):
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
        self._worker.loaded.connect(self._loaded)
        self._worker.stage.connect(self.statusBar().showMessage)
        self._worker.piece.connect(self.answer.insertPlainText)
        self._worker.saved.connect(lambda entry: self._list(entry, on_top=True))
        self._worker.finished.connect(self._done)
        self._worker.failed.connect(self._done)
        self._thread.start()

    # ---- What people do ----

    def open_file(self, path: Path) -> None:
        """Show a document; what cannot be read is said in the status line."""
        try:
            document = read(path)
        except (OSError, ValueError) as error:
            self.statusBar().showMessage(str(error))
            return
        self._document = document
        self.text.setPlainText(document.text)
        self.text.setVisible(document.image is None)
        self.image.setVisible(document.image is not None)
        if document.image is not None:
            pixmap = QPixmap(str(document.image))
            self.image.setPixmap(pixmap.scaledToHeight(IMAGE_HEIGHT, Qt.TransformationMode.SmoothTransformation))
        self.statusBar().showMessage(f"{document.name} is open.")

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
        document = self._document
        if document.image is None:
            document = Document(document.name, self.text.toPlainText())
            if not document.text.strip():
                self.statusBar().showMessage("There is no text yet. Write one, or open a file.")
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
        self.models.setCurrentIndex(0)
        if name:
            self.models.insertItem(1, Path(name).name, Path(name))
            self.models.setCurrentIndex(1)
            self.choose_model(Path(name))

    # ---- What the worker says ----

    def _loaded(self, name: str) -> None:
        self._is_ready = True
        self._done(f"{name} is ready.")

    def _done(self, message: str) -> None:
        self._show_state(busy=False)
        self.statusBar().showMessage(message)
        self.finished.emit()

    def _list(self, entry: Entry, on_top: bool = False) -> None:
        for row in reversed(range(self.history.count())):
            if self.history.item(row).data(Qt.ItemDataRole.UserRole).key == entry.key:
                self.history.takeItem(row)
        item = QListWidgetItem(entry.title)
        item.setToolTip(f"{entry.n_tokens} tokens, read with {Path(entry.model).name}")
        item.setData(Qt.ItemDataRole.UserRole, entry)
        self.history.insertItem(0 if on_top else self.history.count(), item)

    def _show_state(self, *, busy: bool) -> None:
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
