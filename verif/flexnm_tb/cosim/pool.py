"""Several simulated engines that share the outputs of a layer, one thread each."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch
from flexnm_model.driver import JobResult, LinearDriver
from flexnm_rtl.config import Config, ConfigError, ceil_div

from flexnm_tb.cosim.engine import SimulatedEngine

MAX_ENGINES = 64
PART_CYCLES = 1 << 20
"""A job of more cycles is cut into several, so that an interruption waits a few seconds at most."""

_POLL_SECONDS = 0.2


def ideal_cycles(cfg: Config, tokens: int, channels: int, outputs: int) -> int:
    """Cycles the array of one engine needs at least for a layer: T, K, O."""
    return ceil_div(tokens, cfg.rows) * ceil_div(outputs, cfg.cols) * cfg.blocks(channels) * cfg.steps


@dataclass(frozen=True)
class PoolResult:
    """sums: int64 (T, O). counters: the engines', added up over all jobs. jobs: how many it took."""

    sums: torch.Tensor
    counters: Mapping[str, int]
    jobs: int


class EnginePool:
    """Engines of one configuration. ``with EnginePool(cfg, 2) as pool: pool.multiply(x, w)``."""

    def __init__(self, cfg: Config, engines: int = 2) -> None:
        """Build the library if need be. Raises ConfigError for a bad number of engines, and VerilatorError."""
        if not 1 <= engines <= MAX_ENGINES:
            raise ConfigError(f"ENGINES={engines} is out of range: it must be a whole number from 1 to {MAX_ENGINES}")
        self.cfg = cfg
        self._engines: list[SimulatedEngine] = []
        try:
            for _ in range(engines):
                self._engines.append(SimulatedEngine(cfg))
            self._drivers = [LinearDriver(engine, cfg) for engine in self._engines]
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

    def __enter__(self) -> EnginePool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def cycles(self) -> int:
        """Clock cycles of all engines since they were made; may be read while they run."""
        return sum(engine.cycles for engine in self._engines)

    def multiply(self, x: torch.Tensor, w: torch.Tensor, advance: Callable[[], None] = lambda: None) -> PoolResult:
        """S(x) w^T: x (T, K), w (O, K), signed integers of the configured widths.

        Weights are packed for one job at a time and dropped after it. advance: called now and then while the engines
        run, in the caller's thread. Raises ConfigError and DeviceError as ``LinearDriver`` does.
        """
        if self._stop.is_set():
            raise RuntimeError("the engines were interrupted or closed: make a new EnginePool")
        parts = self._parts(x.shape[0], *w.shape)
        count = len(self._drivers)
        shares = [
            self._threads.submit(self._work, driver, x, [w[part] for part in parts[index::count]])
            for index, driver in enumerate(self._drivers)
        ]
        try:
            while wait(shares, timeout=_POLL_SECONDS).not_done:
                advance()
        except BaseException:
            self._stop.set()
            raise
        results = [share.result() for share in shares]
        jobs = [results[index % count][index // count] for index in range(len(parts))]
        counters = Counter[str]()
        for job in jobs:
            counters.update(job.counters)
        sums = torch.cat([job.results for job in jobs], dim=1)
        return PoolResult(sums, dict(counters), len(jobs) * ceil_div(x.shape[0], self.cfg.tokens_max))

    def _parts(self, tokens: int, outputs: int, channels: int) -> list[slice]:
        """Contiguous parts of the outputs, whole tiles but for the last, as equal as that allows, in order."""
        tiles = ceil_div(outputs, self.cfg.cols)
        longest = max(1, PART_CYCLES // ideal_cycles(self.cfg, min(tokens, self.cfg.tokens_max), channels, 1))
        engines = len(self._engines)
        count = min(tiles, ceil_div(ceil_div(tiles, longest), engines) * engines)
        ends = [tiles * (i + 1) // count * self.cfg.cols for i in range(count)]
        return [slice(begin, min(end, outputs)) for begin, end in zip([0, *ends], ends, strict=False)]

    def _work(self, driver: LinearDriver, x: torch.Tensor, shares: list[torch.Tensor]) -> list[JobResult]:
        done: list[JobResult] = []
        for w in shares:
            if self._stop.is_set():
                break
            done.append(driver.run(x, driver.prepare(w)))
        return done

    def _free(self) -> None:
        for engine in self._engines:
            engine.close()
        self._engines = []
