"""The RTL as a PyTorch module: a linear layer whose integer sums come out of the simulated engine."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from flexnm_model.integer_linear import QuantizedLinear
from flexnm_model.quantize import Quantized

from flexnm_tb.cosim.pool import EnginePool


class HardwareLinear(QuantizedLinear):
    """Replaces an nn.Linear: quantises, lets the engines of ``pool`` multiply, dequantises.

        with EnginePool(preset("n8m16-edge"), 2) as pool:
            layer = HardwareLinear(torch.nn.Linear(576, 1536), pool)
            y = layer(torch.randn(64, 576))

    Equal to ``IntegerLinear`` to the last bit. counters: those of the last call, added up over its jobs.
    Raises ConfigError for a layer of more channels than the engine's K_MAX.
    """

    def __init__(
        self, linear: torch.nn.Linear, pool: EnginePool, *, name: str = "layer", weight: Quantized | None = None
    ) -> None:
        super().__init__(linear, pool.cfg, name=name, weight=weight)
        self.pool = pool
        self.counters: Mapping[str, int] = {}

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See ``QuantizedLinear.product``. Raises DeviceError when the engine reports an error."""
        result = self.pool.multiply(x, self.weight.q)
        self.counters = result.counters
        return result.sums
