"""The model's own thread: the window asks by signals, is told by signals, and never waits.

t5g lets other threads run while it computes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import t5g
from documents import Document
from history import Entry, History
from PySide6.QtCore import QObject, Signal, Slot

SUMMARISE = "Summarise the following text."


@dataclass(frozen=True)
class Request:
    """What is to be written: about a document, with a question or none, or about a source that was read before."""

    document: Document
    question: str = ""
    saved: Entry | None = None


class Stopped(Exception):
    """Somebody has pressed Stop while the source was read."""


class Worker(QObject):
    """Lives in a QThread. `stop` may be called from any thread."""

    loaded = Signal(object, str)  # path (None: the one that comes with t5g) and name of the model
    refused = Signal(str, bool)  # why a model cannot be opened, and whether there is another one
    stage = Signal(str)  # what is being done, for the status line
    progress = Signal(int, int)  # tokens that have been read, of all
    piece = Signal(str)
    finished = Signal(str)  # how it went
    failed = Signal(str)
    saved = Signal(object)

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history
        self._model: t5g.Model | None = None
        self._stream: t5g.Stream | None = None
        self._stopped = False
        self._note = ""

    @Slot(object)
    def open(self, path: Path | None) -> None:
        """Open a model file; None: the one that comes with t5g."""
        try:
            model = t5g.Model(path)
        except Exception as error:  # whatever it is, the window must hear of it
            self.refused.emit(str(error), self._model is not None)
            return
        if self._model is not None:
            self._model.close()
        self._model = model
        self.loaded.emit(path, model.path.name)

    @Slot(object)
    def write(self, request: Request) -> None:
        """Read the source, then write about it, piece by piece."""
        self._stopped = False
        self._note = ""
        try:
            self._generate(*self._source(request))
        except Stopped:
            self.finished.emit("Stopped.")
        except Exception as error:
            self.failed.emit(str(error))

    def stop(self) -> None:
        """End what is being read or written."""
        self._stopped = True
        if (stream := self._stream) is not None:
            stream.cancel()

    @Slot()
    def close(self) -> None:
        if self._model is not None:
            self._model.close()

    def _source(self, request: Request) -> tuple[t5g.EncodedSource, float]:
        assert self._model is not None
        start = time.perf_counter()
        if request.saved is not None:
            self.stage.emit("Loading what was read before ...")
            source = t5g.EncodedSource.load(self._model, self._history.path(request.saved))
        else:
            self.stage.emit(f"Reading {request.document.name} ...")
            source = self._encode(request)
            title = f"{request.question or 'Summary'} - {request.document.name}"
            self._keep(title, source)
        return source, time.perf_counter() - start

    def _keep(self, title: str, source: t5g.EncodedSource) -> None:
        """Save a source for later. Where that cannot be done, the answer comes all the same."""
        assert self._model is not None
        try:
            self.saved.emit(self._history.add(title, self._model.path, source))
        except OSError as error:
            self._note = f" Not kept for later: {error}."

    def _tell(self, done: int, total: int) -> None:
        """Show how far the reading has come; what this raises ends it."""
        if self._stopped:
            raise Stopped
        self.progress.emit(done, total)

    def _encode(self, request: Request) -> t5g.EncodedSource:
        assert self._model is not None
        model, document, question = self._model, request.document, request.question
        if document.image is not None:
            return model.encode(f"<start_of_image> {question}".rstrip(), images=document.image, progress=self._tell)
        if not model.has_chat_template:
            text = f"{question}\n\n{document.text}" if question else document.text
            return model.encode(text, progress=self._tell)
        content = f"{question or SUMMARISE}\n\n{document.text}"
        prompt = model.apply_chat_template([{"role": "user", "content": content}])
        return model.encode(prompt, progress=self._tell)

    def _generate(self, source: t5g.EncodedSource, seconds: float) -> None:
        assert self._model is not None
        self.stage.emit("Writing ...")
        self._stream = self._model.stream(source)
        try:
            if self._stopped:
                self._stream.cancel()
            for piece in self._stream:
                self.piece.emit(piece)
            result = self._stream.result
        finally:
            self._stream = None
        rate = result.timings.decode_tokens_per_second
        how = "Stopped" if result.finish_reason == "cancelled" else "Done"
        read = f"{source.n_tokens} tokens read in {seconds:.1f} s"
        self.finished.emit(f"{how}: {read}, {len(result.token_ids)} written, {rate:.0f} a second.{self._note}")
