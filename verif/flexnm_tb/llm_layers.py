"""The layers of a run of ``flexnm llm``: on the engines or from the cache, each checked against the software model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from flexnm_model.matmul import sparse_matmul
from flexnm_model.quantize import Quantized
from flexnm_rtl.config import Config

from flexnm_tb.cosim.linear_module import HardwareLinear
from flexnm_tb.cosim.pool import EnginePool
from flexnm_tb.engine_cycles import ideal_cycles
from flexnm_tb.llm_store import HardwareLayer, LayerStore, fingerprint


@dataclass(frozen=True)
class LayerRow:
    """One layer on the engine. Counters are added up over ``jobs`` jobs, which the engines shared.

    ideal: cycles the array needs at least. words: sums compared. compression: bits of the activations over bits of
    their compressed blocks, padding included. cached: taken from an earlier run. seconds: of simulation.
    """

    layer: str
    tokens: int
    channels: int
    outputs: int
    jobs: int
    cycles: int
    ideal: int
    busy_cycles: int
    wait_acts: int
    wait_weights: int
    wait_results: int
    words: int
    mismatches: int
    compression: float
    cached: bool
    seconds: float


@dataclass(frozen=True)
class Position:
    """Where a run is. step: layer or activity. cycles, total: done and in all. left: to simulate still."""

    step: str
    tokens: int
    cycles: float = 0
    total: float = 0
    left: float = 0
    rate: float = 0

    @property
    def seconds_left(self) -> float | None:
        """None while no rate is known."""
        return self.left / self.rate if self.rate else None


Advance = Callable[[Position], None]


class LayerRun:
    """What the layers of one run share: engines, stored results, and how far it is."""

    def __init__(
        self,
        cfg: Config,
        engine_pool: EnginePool,
        store: LayerStore,
        weights: dict[str, Quantized],
        chosen: tuple[str, ...],
        tokens: int,
        fresh: bool,
        advance: Advance,
    ) -> None:
        self.cfg, self.pool, self.store, self.weights, self.chosen = cfg, engine_pool, store, weights, chosen
        self.tokens, self.fresh, self.advance = tokens, fresh, advance
        self.rows: list[LayerRow] = []
        self.ideal = {
            name: ideal_cycles(cfg, tokens, weights[name].q.shape[1], len(weights[name].q)) for name in chosen
        }
        self.open = {name: cycles for name, cycles in self.ideal.items() if fresh or not store.has(name)}
        self.started: float | None = None
        # Layers that are not on the engine may be larger than it.
        largest = max(weight.q.shape[1] for weight in weights.values())
        self.software_cfg = cfg.replace(k_max=max(cfg.k_max, largest))

    def multiply(self, name: str, x: torch.Tensor) -> tuple[HardwareLayer, bool]:
        """The engine's result for a layer, and whether it was stored."""
        w = self.weights[name].q

        def compute() -> HardwareLayer:
            before, began = self.pool.cycles, time.perf_counter()
            self.started = self.started or began
            result = self.pool.multiply(x, w, lambda: self.report(name, self.pool.cycles - before))
            return HardwareLayer(result.sums, result.counters, result.jobs, time.perf_counter() - began)

        width = self.cfg.result_width
        return self.store.obtain(name, fingerprint(x, w), compute, result_width=width, fresh=self.fresh)

    def add(self, name: str, layer: HardwareLayer, cached: bool, model: torch.Tensor) -> None:
        """Note a finished layer; model: the software model's sums."""
        tokens, outputs = layer.sums.shape
        channels = self.weights[name].q.shape[1]
        counted = {field: count for field, count in layer.counters.items() if field != "blocks"}
        compressed = self.cfg.blocks(channels) * self.cfg.compressed_bits
        row = LayerRow(
            layer=name, tokens=tokens, channels=channels, outputs=outputs, jobs=layer.jobs, **counted,
            ideal=self.ideal[name], words=tokens * outputs, mismatches=int((layer.sums != model).sum()),
            compression=channels * self.cfg.act_width / compressed, cached=cached, seconds=layer.seconds,
        )  # fmt: skip
        self.rows.append(row)
        self.open.pop(name, None)
        self.report(name, 0)

    def report(self, name: str, running: int) -> None:
        """Tell the position; running: cycles of the present layer so far."""
        done = sum(self.ideal[row.layer] for row in self.rows) + running
        seconds = time.perf_counter() - self.started if self.started else 0
        rate = self.pool.cycles / seconds if seconds else 0
        left = max(0, sum(self.open.values()) - running)
        self.advance(Position(name, self.tokens, done, sum(self.ideal.values()), left, rate))


class CheckedLinear(HardwareLinear):
    """A hardware layer that takes stored results, and compares each with the software model."""

    def __init__(self, name: str, linear: torch.nn.Linear, run: LayerRun) -> None:
        super().__init__(linear, run.pool, name=name, weight=run.weights[name])
        self.run = run

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See ``QuantizedLinear.product``."""
        layer, cached = self.run.multiply(self.name, x)
        self.run.add(self.name, layer, cached, sparse_matmul(x, self.weight.q, self.cfg))
        return layer.sums
