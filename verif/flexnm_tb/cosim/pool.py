"""Several simulated engines that share the outputs of a layer, one thread each."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import torch
from flexnm_model.driver import JobResult, LinearDriver
from flexnm_model.method_tables import Methods
from flexnm_model.requantize import Requantization
from flexnm_rtl.config import Config, ConfigError, ceil_div

from flexnm_tb.cosim.engine import SimulatedEngine, SimulatedUnit
from flexnm_tb.engine_cycles import ideal_cycles

MAX_ENGINES = 64
PART_CYCLES = 1 << 20
"""A job of more cycles is cut into several, so that an interruption waits a few seconds at most."""

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class PoolResult:
    """sums: int64 (T, O). counters: the engines', added up over all jobs. jobs: how many it took."""

    sums: torch.Tensor
    counters: Mapping[str, int]
    jobs: int


def split_outputs(outputs: int, tile: int, tile_cycles: int, engines: int) -> list[slice]:
    """Contiguous parts of the outputs, whole tiles but for the last, as equal as that allows, in order.

    tile: outputs of a tile. tile_cycles: cycles of a tile at least. Every engine gets a part where there are tiles
    enough, and several where one job would be longer than ``PART_CYCLES``.
    """
    tiles = ceil_div(outputs, tile)
    longest = max(1, PART_CYCLES // tile_cycles)
    count = min(tiles, ceil_div(ceil_div(tiles, longest), engines) * engines)
    ends = [tiles * (i + 1) // count * tile for i in range(count)]
    return [slice(begin, min(end, outputs)) for begin, end in zip([0, *ends], ends, strict=False)]


Unit = TypeVar("Unit", bound=SimulatedUnit)
Task = TypeVar("Task")
Done = TypeVar("Done")


class UnitPool(Generic[Unit]):
    """Simulated units of one configuration, a thread each. A context manager; leaving it frees them."""

    def __init__(self, kind: Callable[[Config], Unit], cfg: Config, engines: int) -> None:
        """Build the library if need be. Raises ConfigError for a bad number of engines, and VerilatorError."""
        if not 1 <= engines <= MAX_ENGINES:
            raise ConfigError(f"ENGINES={engines} is out of range: it must be a whole number from 1 to {MAX_ENGINES}")
        self.cfg = cfg
        self.units: list[Unit] = []
        try:
            for _ in range(engines):
                self.units.append(kind(cfg))
        except BaseException:
            self._free()
            raise
        self._threads = ThreadPoolExecutor(engines)
        self._stop = threading.Event()

    def close(self) -> None:
        """Wait for running jobs, at most one an engine, then free the engines."""
        self._stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def cycles(self) -> int:
        """Clock cycles of all engines since they were made; may be read while they run."""
        return sum(unit.cycles for unit in self.units)

    def share(self, tasks: list[Task], work: Callable[[int, Task], Done], advance: Callable[[], None]) -> list[Done]:
        """``work(index of the engine, task)`` of every task, the engines in turn, each in its thread; results in order.

        advance: called now and then meanwhile, in the caller's thread; what it raises stops the pool for good.
        """
        if self._stop.is_set():
            raise RuntimeError(f"the engines were interrupted or closed: make a new {type(self).__name__}")
        count = len(self.units)
        shares = [self._threads.submit(self._work, i, tasks[i::count], work) for i in range(count)]
        try:
            while wait(shares, timeout=_POLL_SECONDS).not_done:
                advance()
        except BaseException:
            self._stop.set()
            raise
        results = [share.result() for share in shares]
        return [results[i % count][i // count] for i in range(len(tasks))]

    def _work(self, index: int, tasks: list[Task], work: Callable[[int, Task], Done]) -> list[Done]:
        done: list[Done] = []
        for task in tasks:
            if self._stop.is_set():
                break
            done.append(work(index, task))
        return done

    def _free(self) -> None:
        for unit in self.units:
            unit.close()
        self.units = []


def gather(jobs: list[JobResult], count: int) -> PoolResult:
    """The results of jobs side by side: a layer's. count: how many jobs that were on the engines."""
    counters = Counter[str]()
    for job in jobs:
        counters.update(job.counters)
    return PoolResult(torch.cat([job.results for job in jobs], dim=1), dict(counters), count)


class EnginePool(UnitPool[SimulatedEngine]):
    """Linear engines. ``with EnginePool(cfg, 2) as pool: pool.multiply(x, w)``."""

    def __init__(self, cfg: Config, engines: int = 2) -> None:
        """See ``UnitPool``."""
        super().__init__(SimulatedEngine, cfg, engines)
        try:
            self._drivers = [LinearDriver(engine, cfg) for engine in self.units]
        except BaseException:
            self.close()
            raise

    def multiply(
        self,
        x: torch.Tensor,
        w: torch.Tensor,
        advance: Callable[[], None] = lambda: None,
        *,
        dense: bool = False,
        methods: Methods | None = None,
        requantization: Requantization | None = None,
        pattern: tuple[int, int] | None = None,
    ) -> PoolResult:
        """S(x) w^T, or x w^T with ``dense``: x (T, K), w (O, K), signed integers of the configured widths.

        Weights are packed for one job at a time and dropped after it. advance: called now and then while the engines
        run, in the caller's thread. methods, pattern: see ``LinearDriver.run``. requantization: its bias is added;
        results are exact. Raises ConfigError and DeviceError as ``LinearDriver`` does.
        """
        parts = self._parts(x.shape[0], *w.shape, dense=dense)

        def work(index: int, part: slice) -> JobResult:
            driver = self._drivers[index]
            weights = driver.prepare(w[part], requantization and requantization.part(part))
            return driver.run(x, weights, dense=dense, requantize=False, methods=methods, pattern=pattern)

        return gather(self.share(parts, work, advance), len(parts) * ceil_div(x.shape[0], self._most(dense)))

    def _most(self, dense: bool) -> int:
        """Tokens of a job."""
        return self.cfg.tokens_max_dense if dense else self.cfg.tokens_max

    def _parts(self, tokens: int, outputs: int, channels: int, *, dense: bool = False) -> list[slice]:
        tile_cycles = ideal_cycles(self.cfg, min(tokens, self._most(dense)), channels, 1, dense=dense)
        return split_outputs(outputs, self.cfg.cols, tile_cycles, len(self.units))
