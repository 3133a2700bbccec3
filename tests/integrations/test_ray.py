"""Ray Data: rows get what the model says alone, wrong ones keep their reason, and a worker that dies loses none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from t5g.integrations import ray as t5g_ray

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_corpus.py"
TEXTS = [f"a tool that reads {'many ' * (i % 5)}files {i}" for i in range(40)]


@pytest.fixture(scope="module")
def model() -> Iterator[t5g.Model]:
    with t5g.Model() as model:
        yield model


# ---- Without Ray ----


def test_rows_keep_their_columns_and_their_errors(model: t5g.Model) -> None:
    limit = model.config.encoder.max_position_embeddings
    sources = np.array([TEXTS[0], [5] * (limit + 1), TEXTS[1], None], object)
    worker = t5g_ray.Generate(output="summary", max_new_tokens=6)
    found = worker({"text": sources, "id": np.arange(4)})
    assert found["id"].tolist() == [0, 1, 2, 3]
    assert [bool(error) for error in found["error"]] == [False, True, False, True]
    assert "InputTooLongError: row 1" in found["error"][1]
    for i in (0, 2):
        alone = model.generate(sources[i], max_new_tokens=6)
        assert (found["summary"][i], found["finish_reason"][i]) == (alone.text, alone.finish_reason)
        assert found["n_new_tokens"][i] == len(alone.token_ids)
    with pytest.raises(t5g.InvalidArgumentError, match="'text', 'id'"):
        t5g_ray.Generate(column="nothing")({"text": sources, "id": np.arange(4)})


def test_vectors_and_errors_of_rows(model: t5g.Model) -> None:
    found = t5g_ray.Embed()({"text": np.array([TEXTS[0], None, TEXTS[1]], object)})
    np.testing.assert_array_equal(found["embedding"][[0, 2]], model.embed(TEXTS[:2]))
    assert not found["embedding"][1].any()
    assert found["error"].tolist()[::2] == ["", ""]
    assert found["error"][1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_workers_have_cores_of_their_own(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("there is one core")
    script = "from t5g.integrations import ray; ray._take_cores(1); import os; print(os.sched_getaffinity(0)); input()"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    assert all(worker.stdout is not None for worker in workers)
    found = [worker.stdout.readline().strip() for worker in workers]  # type: ignore[union-attr]
    for worker in workers:
        worker.communicate("\n")
    assert sorted(found) == [f"{{{core}}}" for core in cores[:2]]


# ---- With Ray, two workers ----


class DiesOnce(t5g_ray.Generate):
    """A worker that dies at its first rows, unless one has died before."""

    def __init__(self, *arguments: Any, marker: str, **options: Any) -> None:
        self._marker = Path(marker)
        super().__init__(*arguments, **options)

    def __call__(self, batch: Any) -> Any:
        try:
            self._marker.touch(exist_ok=False)
        except FileExistsError:
            return super().__call__(batch)
        os._exit(1)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    paths = os.pathsep.join([str(Path(t5g.__file__).parents[1]), str(Path(__file__).parent)])
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 << 20,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_two_workers_of_whom_one_dies(ray: Any, model: t5g.Model, tmp_path: Path) -> None:
    rows = ray.data.from_items([{"text": text, "id": i} for i, text in enumerate(TEXTS)]).repartition(8)
    results = rows.map_batches(
        DiesOnce,
        fn_constructor_kwargs={"n_cpus": 1, "max_new_tokens": 5, "marker": str(tmp_path / "died")},
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=1,
        batch_size=5,
        batch_format="numpy",
    ).take_all()
    assert (tmp_path / "died").exists()
    assert sorted(row["id"] for row in results) == [*range(len(TEXTS))]
    for row in results:
        assert row["generated"] == model.generate(row["text"], max_new_tokens=5).text
        assert row["error"] == ""


@pytest.mark.slow
def test_workers_leave_a_core_to_read_on(ray: Any) -> None:
    with pytest.raises(t5g.InvalidArgumentError, match=r"ray.init\(num_cpus=4\)"):
        t5g_ray.generate(ray.data.from_items([{"text": "a"}]), workers=3)


@pytest.mark.slow
def test_embeddings(ray: Any, model: t5g.Model) -> None:
    rows = ray.data.from_items([{"text": text} for text in TEXTS[:8]])
    results = t5g_ray.embed(rows, workers=1, batch_size=4).take_all()
    found = {row["text"]: row["embedding"] for row in results}
    np.testing.assert_array_equal([found[text] for text in TEXTS[:8]], model.embed(TEXTS[:8]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_corpus_is_resumed(kind: str, model: t5g.Model, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    import pyarrow
    import pyarrow.parquet as parquet

    corpus = tmp_path / "corpus"
    corpus.mkdir()

    def add(name: str, texts: list[str]) -> None:
        if kind == "jsonl":
            (corpus / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        else:
            parquet.write_table(pyarrow.table({"text": texts}), corpus / f"{name}.parquet")

    def run(*more: str) -> dict[str, float]:
        command = [
            sys.executable,
            str(EXAMPLE),
            str(corpus),
            str(tmp_path / "out"),
            "--workers",
            "2",
            "--batch-size",
            "4",
        ]
        environment = os.environ | {"PYTHONPATH": str(Path(t5g.__file__).parents[1])}
        result = subprocess.run(
            [*command, "--max-new-tokens", "4", "--price-per-hour", "1", *more],
            capture_output=True,
            text=True,
            timeout=240,
            env=environment,
        )
        assert result.returncode == 0, result.stderr
        found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
        return found

    add("one", TEXTS[:10])
    first = run("--part-rows", "4")
    assert (first["rows"], first["errors"]) == (10, 0)
    assert first["cost_per_million_tokens"] > 0
    parts = sorted((tmp_path / "out").glob("part-*.parquet"))
    parts[0].unlink()  # as if it had been interrupted
    n_lost = 10 - sum(parquet.read_metadata(part).num_rows for part in parts[1:])
    add("two", TEXTS[10:13])
    assert run()["rows"] == n_lost + 3
    table = parquet.read_table(tmp_path / "out")
    found = dict(zip(table["text"].to_pylist(), table["generated"].to_pylist(), strict=True))
    assert found == {text: model.generate(text, max_new_tokens=4).text for text in TEXTS[:13]}
    assert table.num_rows == 13
