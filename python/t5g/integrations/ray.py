"""Ray Data: classes for `map_batches` that write or embed the rows of a corpus, on any number of machines.

Each worker opens the file for itself: its pages are one copy for all workers of a machine. A worker runs on cores that
no other worker of the machine has. What is wrong with a row is said in its column ``error``; the others go on.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from t5g import arguments
from t5g.errors import InvalidArgumentError
from t5g.messages import about

if TYPE_CHECKING:
    import numpy.typing as npt
    import ray.data

    Columns = dict[str, npt.NDArray[Any]]

_BATCH_SIZE = 256
"""Rows that a worker gets at a time: enough to keep the batch full to nearly the end, and little to do again."""


class Generate:
    """Writes a text for every row; give it to ``dataset.map_batches``, or let :func:`generate` do so.

    Parameters
    ----------
    model
        The GGUF file, at the same path on every machine; None: the bundled model.
    column
        The column with the sources, texts or lists of token ids.
    output
        The column that gets the texts.
    n_cpus
        Cores of this worker. None: those that Ray has given it, or without Ray the usual number.
    max_batch_size
        Texts that run together.
    model_options
        Further arguments of :class:`t5g.Model`.
    **options
        As in :meth:`t5g.Model.generate`.

    Notes
    -----
    Rows keep their columns and get these: ``output`` (the text, empty after an error), ``finish_reason``,
    ``n_source_tokens``, ``n_new_tokens``, and ``error``, empty where there was none.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        column: str = "text",
        output: str = "generated",
        n_cpus: int | None = None,
        max_batch_size: int = 16,
        model_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._column = arguments.text("column", column)
        self._output = arguments.text("output", output)
        self._max_batch_size = max_batch_size
        self._options = options
        self._model = _open(model, n_cpus, model_options)

    def __call__(self, batch: Columns) -> Columns:
        """Write the texts of some rows."""
        import numpy as np

        from t5g.batch import Batch, Item, Nothing

        sources = _sources(batch, self._column)
        items = iter([Item(i, _plain(source), name=f"row {i}") for i, source in enumerate(sources)])
        running = Batch(self._model, max_batch_size=self._max_batch_size, **self._options)
        results = [result for _, result in running.results(lambda wait: next(items, Nothing.LEFT))]
        good = [None if isinstance(result, Exception) else result for result in results]
        return batch | {
            self._output: np.array([g.text if g else "" for g in good], object),
            "finish_reason": np.array([g.finish_reason if g else "" for g in good], object),
            "n_source_tokens": np.array([g.timings.n_source_tokens if g else 0 for g in good], np.int64),
            "n_new_tokens": np.array([g.timings.n_new_tokens if g else 0 for g in good], np.int64),
            "error": np.array([_told(r) for r in results], object),
        }


class Embed:
    """Gives every row its vector; give it to ``dataset.map_batches``, or let :func:`embed` do so.

    Parameters
    ----------
    model, column, n_cpus, model_options
        As in :class:`Generate`.
    output
        The column that gets the vectors, float32 [hidden_size]; zeros after an error.
    **options
        As in :meth:`t5g.Model.embed`; ``pooling`` has to make one vector of each text.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        column: str = "text",
        output: str = "embedding",
        n_cpus: int | None = None,
        model_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if options.get("pooling") == "none":
            raise arguments.wrong_value("pooling", "one that makes a vector of each text", "none")
        self._column = arguments.text("column", column)
        self._output = arguments.text("output", output)
        self._options = options
        self._model = _open(model, n_cpus, model_options)

    def __call__(self, batch: Columns) -> Columns:
        """Embed some rows."""
        import numpy as np

        vectors, errors = [], []
        for source in _sources(batch, self._column):
            try:
                vectors.append(np.asarray(self._model.embed([_plain(source)], **self._options)[0]))
                errors.append("")
            except Exception as error:  # this row's
                vectors.append(np.zeros(self._model.config.encoder.hidden_size, np.float32))
                errors.append(_told(error))
        return batch | {self._output: np.stack(vectors), "error": np.array(errors, object)}


def generate(
    dataset: ray.data.Dataset,
    model: str | None = None,
    *,
    workers: int | tuple[int, int] = 1,
    cpus_per_worker: int = 1,
    batch_size: int = _BATCH_SIZE,
    **options: Any,
) -> ray.data.Dataset:
    """Write a text for every row of a dataset.

    Parameters
    ----------
    dataset
        The rows; they are streamed.
    model, **options
        Of :class:`Generate`.
    workers
        How many, or the fewest and the most.
    cpus_per_worker
        Cores of each. Ray needs one more, to read the rows.
    batch_size
        Rows that a worker gets at a time. When a worker dies, those that it had are done again.

    Returns
    -------
    ray.data.Dataset
        The rows with their new columns, computed when they are asked for.
    """
    done: ray.data.Dataset = _mapped(dataset, Generate, model, workers, cpus_per_worker, batch_size, options)
    return done


def embed(
    dataset: ray.data.Dataset,
    model: str | None = None,
    *,
    workers: int | tuple[int, int] = 1,
    cpus_per_worker: int = 1,
    batch_size: int = _BATCH_SIZE,
    **options: Any,
) -> ray.data.Dataset:
    """Give every row of a dataset its vector. Parameters as in :func:`generate`, options as in :class:`Embed`."""
    done: ray.data.Dataset = _mapped(dataset, Embed, model, workers, cpus_per_worker, batch_size, options)
    return done


def _mapped(
    dataset: Any, kind: type, model: str | None, workers: Any, cpus: int, batch_size: int, options: dict[str, Any]
) -> Any:
    import ray.data

    n = arguments.integer("cpus_per_worker", cpus, low=1)
    fewest, most = workers if isinstance(workers, tuple) else (workers, workers)
    _check_cores(fewest, n)
    return dataset.map_batches(
        kind,
        fn_constructor_args=(model,),
        fn_constructor_kwargs={"n_cpus": n, **options},
        compute=ray.data.ActorPoolStrategy(min_size=fewest, max_size=most),
        num_cpus=n,
        batch_size=arguments.integer("batch_size", batch_size, low=1),
        batch_format="numpy",
    )


def _check_cores(workers: int, cpus: int) -> None:
    """Ray would wait for ever for a core to read the rows on, where the workers have them all."""
    import ray

    resources: Any = ray.cluster_resources() if ray.is_initialized() else {}  # type: ignore[no-untyped-call, unused-ignore]
    total = int(resources.get("CPU", 0))
    if total and workers * cpus >= total:
        raise about(
            InvalidArgumentError,
            "workers",
            f"{workers} with {cpus} cores each leave none of Ray's {total} to read the rows. Take fewer, or "
            f"start Ray with more: ray.init(num_cpus={workers * cpus + 1}).",
        )


# ---- Rows ----


def _sources(batch: Columns, column: str) -> Sequence[Any]:
    if column not in batch:
        raise arguments.wrong_value("column", f"one of {', '.join(map(repr, batch))}", column)
    return batch[column]  # type: ignore[return-value]


def _plain(source: Any) -> Any:
    """NumPy's texts as Python's."""
    return str(source) if isinstance(source, str) else source


def _told(result: object) -> str:
    return f"{type(result).__name__}: {result}" if isinstance(result, Exception) else ""


# ---- Workers ----


def _open(path: str | None, n_cpus: int | None, options: dict[str, Any] | None) -> Any:
    from t5g.model import Model

    if n_cpus is not None:
        _take_cores(n_cpus)
    return Model(path, **({"n_threads": n_cpus} | (options or {})))


_held: list[IO[bytes]] = []  # files that this process has locked, one for each of its cores


def _take_cores(n: int) -> None:
    """Bind this process to cores that no other worker of this machine has; to any, where there are not enough left."""
    if not hasattr(os, "sched_setaffinity") or _held:
        return
    allowed = sorted(os.sched_getaffinity(0))
    if n >= len(allowed):
        return
    cores = []
    for core, file in _free_cores(allowed):
        cores.append(core)
        _held.append(file)
        if len(cores) == n:
            os.sched_setaffinity(0, cores)
            return
    while _held:
        _held.pop().close()


def _free_cores(cores: Sequence[int]) -> Iterator[tuple[int, IO[bytes]]]:
    """Lock cores one by one: a lock ends with its process, however that ends."""
    import fcntl

    folder = Path(tempfile.gettempdir()) / f"t5g-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for core in cores:
        file = (folder / str(core)).open("ab")  # a lock, which stays empty
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        yield core, file
