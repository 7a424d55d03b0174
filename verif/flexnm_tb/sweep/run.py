"""Measuring the points of a sweep in parallel: on this machine with joblib, or on a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flexnm_gen import synth
from flexnm_model.commands import progress_bar
from flexnm_rtl.config import ConfigError
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from flexnm_tb.sweep.environment import Environment, Settings, source_digest
from flexnm_tb.sweep.grid import Point
from flexnm_tb.sweep.store import FAILED, INVALID, Row, Store, point_key, with_figures, without_figures

Measure = Callable[..., Mapping[str, Any]]
"""``flexnm_gen.synth.measure``: unit, configuration and target, to a record."""
OTHER_SOURCES = "flexnm's sources are not those that the sweep began with: update the worker, or start again"
Task = tuple[Point, Environment, Settings, Measure]
WAIT = 30.0
"""Seconds that a cluster has to answer, and to show a worker."""


@dataclass(frozen=True)
class Outcome:
    """Rows of all points, in their order. ``measured``: how many are new; the others were in the table."""

    rows: list[Row]
    measured: int

    @property
    def failed(self) -> list[Row]:
        """Those that went wrong; what cannot be built is not among them."""
        return [row for row in self.rows if row.status == FAILED]


def sweep(
    points: Sequence[Point],
    environments: Mapping[str, Environment],
    settings: Settings,
    store: Store,
    *,
    jobs: int = -1,
    dask: str | None = None,
    measure: Measure = synth.measure,
) -> Outcome:
    """Measure what is not in the table yet, and what failed. ``jobs``: processes, -1: one a core. ``dask``: address of
    a scheduler, in the place of ``jobs``.

    A row is kept as soon as it is there: an interruption loses only the points under way. Raises ConfigError when the
    cluster cannot be used.
    """
    keys = [point_key(point, environments[point.target]) for point in points]
    known = {row.key for row in store.rows(keys) if row.status != FAILED}
    missing = [point for point, key in zip(points, keys, strict=True) if key not in known]
    tasks = [(point, environments[point.target], settings, measure) for point in missing]
    rows = _local(tasks, jobs) if dask is None else _remote(tasks, dask)
    with progress_bar() as progress:
        task = progress.add_task("sweep", total=len(points), completed=len(points) - len(missing))
        for row in rows if tasks else ():
            store.add(row)
            progress.update(task, advance=1, description=f"sweep: {row.top} {row.pattern}")
    return Outcome(store.rows(keys), len(missing))


def _local(tasks: Sequence[Task], jobs: int) -> Iterator[Row]:
    """Rows in the order in which they get ready, from processes of this machine."""
    # One point a batch: they take from a second to minutes each.
    parallel = Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")
    with parallel_config("loky", inner_max_num_threads=1):
        results = parallel(delayed(measure_point)(*task) for task in tasks)
    with contextlib.closing(results):
        try:
            yield from results
        except TerminatedWorkerError:
            raise ConfigError("a worker was killed, perhaps for memory: run it again, with fewer JOBS") from None


def _remote(tasks: Sequence[Task], address: str) -> Iterator[Row]:
    """Rows in the order in which they get ready, from a cluster; workers may come and go.

    Not joblib's backend for Dask: it works in this process when the cluster has one thread, and ends with the first
    worker that is lost.
    """
    with _connected(address) as client:
        futures = {client.submit(measure_point, *task, pure=False): task for task in tasks}
        for future in _distributed().as_completed(futures):
            error = future.exception()
            point, environment, *_ = futures.pop(future)
            yield future.result() if error is None else _failure(point, environment, error)


def measure_point(point: Point, environment: Environment, settings: Settings, measure: Measure) -> Row:
    """The row of a point, whatever happens: runs in a worker, and one bad point must not end the others."""
    try:
        if source_digest() != environment.sources:
            return without_figures(point, environment, FAILED, OTHER_SOURCES)
        record = measure(point.top, point.cfg, point.target, **settings.options(point.target))
        difference = environment.differs(record)
        if difference is not None:
            return without_figures(point, environment, FAILED, difference)
        return with_figures(point, environment, record)
    except ConfigError as error:
        return without_figures(point, environment, INVALID, str(error))
    except Exception as error:
        return _failure(point, environment, error)


def _failure(point: Point, environment: Environment, error: BaseException) -> Row:
    return without_figures(point, environment, FAILED, f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client of a cluster with workers; what is still under way at the end is cancelled."""
    try:
        client = _distributed().Client(address, timeout=WAIT)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"DASK={address} does not answer ({error}): start `dask scheduler`, give its address"
        ) from None
    try:
        try:
            client.wait_for_workers(1, timeout=WAIT)
        except TimeoutError:
            raise ConfigError(f"DASK={address} has no workers: start `dask worker {address}`") from None
        yield client
    finally:
        client.close()


def _distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ConfigError(f"DASK needs the Python package {error.name}: install flexnm[cluster]") from None
    return distributed
