"""The RTL as a PyTorch module: a linear layer whose integer results come out of the simulated engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from flexnm_model.compress import pattern_config
from flexnm_model.methods import Method
from flexnm_model.methods.integer import MethodLinear, largest_input
from flexnm_model.methods.layer import SparseLinear, Tensors
from flexnm_model.methods.patterns import Blocks

from flexnm_tb.cosim.pool import EnginePool, PoolResult


class HardwareLinear(MethodLinear):
    """Replaces an nn.Linear: quantises, lets the engines of ``pool`` multiply, dequantises.

        with EnginePool(preset("n8m16-edge"), 2) as pool:
            layer = HardwareLinear(torch.nn.Linear(576, 1536), pool)
            y = layer(torch.randn(64, 576))

    method: the engines' N:M, by magnitude, when left out; flexible engines take any pattern they have room for.
    tensors: calibrated and learned ones of the layer.
    Equal to ``MethodLinear``, which for a plain pattern is ``IntegerLinear``, to the last bit.
    counters: those of the last call, added up over its jobs.
    Raises ConfigError for a layer of more channels than the engine's K_MAX, and like ``MethodLinear``.
    """

    def __init__(
        self,
        linear: torch.nn.Linear,
        pool: EnginePool,
        method: Method | None = None,
        tensors: Tensors | None = None,
        *,
        name: str = "layer",
    ) -> None:
        own = Method(Blocks(pool.cfg.n_keep, pool.cfg.m_group)) if method is None else method
        known = tensors or {}
        sparse = SparseLinear(linear, own, known, name=name)
        blocks = own.pattern if isinstance(own.pattern, Blocks) else None
        self.pattern = (blocks.n, blocks.m) if blocks and pool.cfg.flexible else None
        cfg = pattern_config(pool.cfg, self.pattern)
        super().__init__(sparse, own, cfg, name=name, peak=largest_input(sparse, known))
        self.pool = pool
        self.counters: Counter[str] = Counter()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See ``MethodLinear.forward``. Raises DeviceError when the engine reports an error."""
        self.counters.clear()
        return super().forward(x)

    def product(self, x: torch.Tensor, exponents: torch.Tensor | None = None) -> torch.Tensor:
        """See ``MethodLinear.product``."""
        if self.dense:
            return self.dense_product(x, self.weight.q)
        return self._counted(self.sparse_job(x, exponents))

    def dense_product(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """See ``MethodLinear.dense_product``."""
        return self._counted(self.dense_job(x, w))

    def sparse_job(
        self, x: torch.Tensor, exponents: torch.Tensor | None, advance: Callable[[], None] = lambda: None
    ) -> PoolResult:
        """The totals of ``product`` from the engines. advance: see ``EnginePool.multiply``."""
        methods = self.methods(exponents)
        return self.pool.multiply(
            x, self.weight.q, advance, methods=methods, requantization=self.requantization, pattern=self.pattern
        )

    def dense_job(self, x: torch.Tensor, w: torch.Tensor, advance: Callable[[], None] = lambda: None) -> PoolResult:
        """The sums of ``dense_product`` from the engines."""
        return self.pool.multiply(x, w, advance, dense=True)

    def _counted(self, result: PoolResult) -> torch.Tensor:
        self.counters.update(result.counters)
        return result.sums
