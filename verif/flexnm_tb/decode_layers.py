"""The layers of a run of ``flexnm decode``: on the engines or from the cache, each checked against the model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from flexnm_model.integer_linear import QuantizedLinear
from flexnm_model.matmul import sparse_matmul
from flexnm_model.quantize import Quantized
from flexnm_rtl.config import Config

from flexnm_tb.cosim.decode_pool import DecodePool, ideal_beats
from flexnm_tb.llm_layers import Advance, Position
from flexnm_tb.llm_store import HardwareLayer, LayerStore, fingerprint


@dataclass(frozen=True)
class DecodeRow:
    """One layer for one token. Counters are added up over ``jobs`` jobs, which the engines shared.

    step: which token of the text, from 0. keep: N of the layer. rows: of weights read, one a kept channel and tile.
    beats, bursts: what the memory saw. dense_beats: what a job without pruning would read. words: sums compared.
    cached: taken from an earlier run. seconds: of simulation.
    """

    step: int
    layer: str
    keep: int
    channels: int
    outputs: int
    jobs: int
    cycles: int
    rows: int
    beats: int
    bursts: int
    dense_beats: int
    wait_memory: int
    wait_results: int
    words: int
    mismatches: int
    cached: bool
    seconds: float

    @property
    def projection(self) -> str:
        """``mlp.up_proj`` of ``layers.3.mlp.up_proj``."""
        return self.layer.split(".", 2)[2]


class DecodeRun:
    """What the layers of one run share: engines with the weights in their memory, stored results, how far it is.

    keeps: N of each layer. steps: tokens that go through the model.
    Raises ConfigError for weights beyond the engine's addresses.
    """

    def __init__(
        self,
        cfg: Config,
        pool: DecodePool,
        store: LayerStore,
        weights: dict[str, Quantized],
        keeps: Mapping[str, int],
        steps: int,
        fresh: bool,
        advance: Advance,
    ) -> None:
        self.cfg, self.pool, self.store, self.weights = cfg, pool, store, weights
        self.steps, self.fresh, self.advance = steps, fresh, advance
        self.rows: list[DecodeRow] = []
        self.step = 0
        self.cfgs = {name: cfg.replace(n_keep=keeps[name], lanes=1) for name in weights}
        self.layers = {name: pool.load(weight.q, keeps[name]) for name, weight in weights.items()}
        self.prints = {name: fingerprint(weight.q) for name, weight in weights.items()}
        self.ideal = {
            name: ideal_beats(self.cfgs[name], layer.channels, layer.outputs) for name, layer in self.layers.items()
        }
        names = [(step, name) for step in range(steps) for name in weights]
        self.open = {key: self.ideal[key[1]] for key in names if fresh or not store.has(_file(*key))}
        self.done = 0
        self.started: float | None = None

    def multiply(self, name: str, x: torch.Tensor) -> tuple[HardwareLayer, bool]:
        """The engines' result of a layer in the present step, x (1, K), and whether it was stored."""

        def compute() -> HardwareLayer:
            before, began = self.pool.cycles, time.perf_counter()
            self.started = self.started or began
            result = self.pool.multiply(x, self.layers[name], lambda: self.report(name, self.pool.cycles - before))
            return HardwareLayer(result.sums, result.counters, result.jobs, time.perf_counter() - began)

        operands, width = f"{fingerprint(x)} {self.prints[name]}", self.cfg.result_width
        return self.store.obtain(_file(self.step, name), operands, compute, result_width=width, fresh=self.fresh)

    def add(self, name: str, layer: HardwareLayer, cached: bool, model: torch.Tensor) -> None:
        """Note a finished layer; model: the software model's sums."""
        outputs, channels = self.weights[name].q.shape
        counters = layer.counters
        row = DecodeRow(
            step=self.step, layer=name, keep=self.layers[name].keep, channels=channels, outputs=outputs,
            jobs=layer.jobs, cycles=counters["cycles"], rows=counters["rows"], beats=counters["bus_beats"],
            bursts=counters["bursts"],
            dense_beats=ideal_beats(self.cfg.replace(n_keep=self.cfg.m_group, lanes=1), channels, outputs),
            wait_memory=counters["wait_memory"], wait_results=counters["wait_results"], words=layer.sums.numel(),
            mismatches=int((layer.sums != model).sum()), cached=cached, seconds=layer.seconds,
        )  # fmt: skip
        self.rows.append(row)
        self.open.pop((self.step, name), None)
        self.done += self.ideal[name]
        self.report(name, 0)

    def report(self, name: str, running: int) -> None:
        """Tell the position; running: cycles of the present layer so far."""
        seconds = time.perf_counter() - self.started if self.started else 0
        rate = self.pool.cycles / seconds if seconds else 0
        left = max(0, sum(self.open.values()) - running)
        total = self.steps * sum(self.ideal.values())
        where = f"{self.step + 1}/{self.steps} {name}"
        self.advance(Position(where, self.steps, self.done + running, total, left, rate))


def _file(step: int, name: str) -> str:
    return f"step{step:04d}/{name}"


class CheckedDecodeLinear(QuantizedLinear):
    """Replaces an nn.Linear by the decode engines, and compares each result with the software model."""

    def __init__(self, name: str, linear: torch.nn.Linear, run: DecodeRun) -> None:
        super().__init__(linear, run.cfgs[name], name=name, weight=run.weights[name])
        self.run = run

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See ``QuantizedLinear.product``."""
        layer, cached = self.run.multiply(self.name, x)
        self.run.add(self.name, layer, cached, sparse_matmul(x, self.weight.q, self.cfg))
        return layer.sums
