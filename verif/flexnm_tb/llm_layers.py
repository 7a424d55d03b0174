"""The layers of a run of ``flexnm llm``: on the engines or from the cache, each checked against the software model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from flexnm_model.methods import Method
from flexnm_model.methods.integer import MethodLinear
from flexnm_model.methods.layer import Tensors
from flexnm_rtl.config import Config

from flexnm_tb.cosim.linear_module import HardwareLinear
from flexnm_tb.cosim.pool import EnginePool, PoolResult
from flexnm_tb.engine_cycles import ideal_cycles
from flexnm_tb.llm_store import HardwareLayer, LayerStore, fingerprint


@dataclass(frozen=True)
class LayerRow:
    """One layer on the engine. Counters are added up over ``jobs`` jobs, which the engines shared.

    pattern: N:M of the engine, or dense. ideal: cycles the array needs at least. words: sums compared. compression:
    bits of the activations over bits of their compressed blocks, padding included; 1 if dense. cached: taken from an
    earlier run. seconds: of simulation.
    """

    layer: str
    pattern: str
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


@dataclass(frozen=True)
class Product:
    """What a layer asks the engines for: one product of all tokens with K ``channels`` and O ``outputs``.

    engine: configuration of the engines. cfg: the one whose pattern the product has, another one for flexible engines.

    name: the layer's; R-Sparse has two products more, with ``.inner`` and ``.outer`` behind the name.
    """

    name: str
    engine: Config
    cfg: Config
    channels: int
    outputs: int
    dense: bool

    def ideal(self, tokens: int) -> int:
        """Cycles the array needs at least."""
        kept = self.engine.kept(self.cfg.n_keep, self.cfg.m_group) if self.engine.flexible else None
        return ideal_cycles(self.engine, tokens, self.channels, self.outputs, dense=self.dense, n=kept)

    def row(self, layer: HardwareLayer, cached: bool, model: torch.Tensor) -> LayerRow:
        """The row of a finished product; model: the software model's sums."""
        tokens = len(layer.sums)
        counted = {field: count for field, count in layer.counters.items() if field != "blocks"}
        compressed = self.cfg.blocks(self.channels) * self.cfg.compressed_bits
        return LayerRow(
            layer=self.name, pattern="dense" if self.dense else self.cfg.pattern, tokens=tokens,
            channels=self.channels, outputs=self.outputs, jobs=layer.jobs, **counted, ideal=self.ideal(tokens),
            words=tokens * self.outputs, mismatches=int((layer.sums != model).sum()),
            compression=1.0 if self.dense else self.channels * self.cfg.act_width / compressed,
            cached=cached, seconds=layer.seconds,
        )  # fmt: skip


class LayerRun:
    """What the layers of one run share: how far it is. fresh: no result of an earlier run is used.

    simulate: whether layers use the engines; while it is not set, they use the software model.
    """

    def __init__(self, tokens: int, fresh: bool, advance: Advance) -> None:
        self.tokens, self.fresh, self.advance = tokens, fresh, advance
        self.simulate = False
        self.rows: list[LayerRow] = []
        self.ideal: dict[str, int] = {}
        self.open: dict[str, int] = {}
        self.cycles = 0
        self.started: float | None = None

    def building(self, cfg: Config) -> None:
        """Tell that the engine of ``cfg`` is being built."""
        self.advance(Position(f"building the engine of {cfg.pattern}", self.tokens))

    def expect(self, product: Product, stored: bool) -> None:
        """Announce a product. stored: there is a result of an earlier run."""
        self.ideal[product.name] = product.ideal(self.tokens)
        if self.fresh or not stored:
            self.open[product.name] = self.ideal[product.name]

    def add(self, row: LayerRow) -> None:
        """Note a finished product."""
        self.rows.append(row)
        self.open.pop(row.layer, None)
        self.report(row.layer, 0)

    def report(self, name: str, running: int) -> None:
        """Tell the position; running: cycles of the present product so far."""
        done = sum(row.ideal for row in self.rows) + running
        seconds = time.perf_counter() - self.started if self.started else 0
        rate = (self.cycles + running) / seconds if seconds else 0
        left = max(0, sum(self.open.values()) - running)
        self.advance(Position(name, self.tokens, done, sum(self.ideal.values()), left, rate))


class CheckedLinear(HardwareLinear):
    """A hardware layer that takes stored results, and compares each with the software model.

    store: of results under this layer's method and engine.
    """

    def __init__(
        self,
        name: str,
        linear: torch.nn.Linear,
        pool: EnginePool,
        method: Method,
        tensors: Tensors,
        run: LayerRun,
        store: LayerStore,
    ) -> None:
        super().__init__(linear, pool, method, tensors, name=name)
        self.run, self.store = run, store
        outputs, channels = self.weight.q.shape
        self._own = Product(name, pool.cfg, self.cfg, channels, outputs, self.dense)
        self._factors: list[tuple[torch.Tensor, Product]] = []
        if self.low_rank is not None:
            for part, w in (("inner", self.low_rank.inner.q), ("outer", self.low_rank.outer.q)):
                self._factors.append((w, Product(f"{name}.{part}", pool.cfg, self.cfg, w.shape[1], len(w), True)))
        for product in (self._own, *(product for _, product in self._factors)):
            run.expect(product, store.has(product.name))

    def product(self, x: torch.Tensor, exponents: torch.Tensor | None = None) -> torch.Tensor:
        """See ``QuantizedLinear.product``."""
        if self.dense:
            return self.dense_product(x, self.weight.q)
        model = MethodLinear.product(self, x, exponents)
        tables = [] if self.table is None else [self.table.factor, self.table.shift]
        shift = [] if self.requantization is None else [self.requantization.bias]
        tokens = [] if exponents is None else [exponents]
        operands = fingerprint(x, self.weight.q, *tables, *shift, *tokens)
        return self._checked(self._own, operands, model, lambda advance: self.sparse_job(x, exponents, advance))

    def dense_product(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """See ``MethodLinear.dense_product``."""
        product = next((product for factor, product in self._factors if factor is w), self._own)
        model = MethodLinear.dense_product(self, x, w)
        return self._checked(product, fingerprint(x, w), model, lambda advance: self.dense_job(x, w, advance))

    def _checked(
        self, product: Product, operands: str, model: torch.Tensor, job: Callable[[Callable[[], None]], PoolResult]
    ) -> torch.Tensor:
        """The engines' result, or the stored one of the same operands, noted in the run with what ``model`` says."""
        run = self.run
        if not run.simulate:
            return model

        def compute() -> HardwareLayer:
            before, began = self.pool.cycles, time.perf_counter()
            run.started = run.started or began
            result = job(lambda: run.report(product.name, self.pool.cycles - before))
            run.cycles += self.pool.cycles - before
            return HardwareLayer(result.sums, result.counters, result.jobs, time.perf_counter() - began)

        width = self.cfg.result_width
        layer, cached = self.store.obtain(product.name, operands, compute, result_width=width, fresh=run.fresh)
        run.add(product.row(layer, cached, model))
        return layer.sums
