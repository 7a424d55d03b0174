"""Linear layers on integers as modules: quantise, multiply exactly, dequantise. What they replace is an nn.Linear.

    weights      one scale an output, quantised once
    activations  one scale a token, quantised at each call
    sums         exact integers of the pruned (or dense) activations and the weights
    outputs      ((sums * s_x) * s_w) in float64, rounded to float32, then the float32 bias

``IntegerLinear`` multiplies in software; ``flexnm_tb.cosim.linear_module.HardwareLinear`` does it in the simulated
hardware. All other lines are the same, so equal sums give equal outputs, to the last bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from flexnm_rtl.config import Config, ConfigError

from flexnm_model.llm import decoder_linears
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.quantize import Quantized, quantize

Factory = Callable[[str, torch.nn.Linear], torch.nn.Module]


def dequantize_sums(
    sums: torch.Tensor, x_scale: torch.Tensor, w_scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Outputs of a layer: sums int64 (T, O), x_scale float64 (T, 1), w_scale float64 (O, 1), bias (O,) -> float32.

    The order of operations is part of the numeric contract.
    """
    y = (sums.to(torch.float64) * x_scale * w_scale.T).to(torch.float32)
    return y if bias is None else y + bias.to(torch.float32)


class QuantizedLinear(torch.nn.Module):
    """What the software and the hardware layer share; ``product`` is the part that differs.

    linear: the layer to replace; its bias is used as it is. cfg: widths, pattern, K_MAX. name: for messages.
    weight: the quantised weights, where another layer has them already.
    Raises ConfigError when the layer does not fit ``cfg``.
    """

    def __init__(
        self, linear: torch.nn.Linear, cfg: Config, *, name: str = "layer", weight: Quantized | None = None
    ) -> None:
        super().__init__()
        check_fits(name, linear, cfg)
        self.cfg = cfg
        self.name = name
        self.weight = quantize(linear.weight.detach(), cfg.weight_width) if weight is None else weight
        self.bias = None if linear.bias is None else linear.bias.detach()

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """Exact sums, int64 (T, O), of quantised activations x (T, K) and the layer's weights."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: float (…, K) -> (…, O), the type of ``x``. Raises ConfigError for NaN and infinity."""
        tokens = quantize(x.detach().flatten(0, -2), self.cfg.act_width)
        y = dequantize_sums(self.product(tokens.q), tokens.scale, self.weight.scale, self.bias)
        return y.to(x.dtype).view(*x.shape[:-1], -1)


class IntegerLinear(QuantizedLinear):
    """A linear layer in the software model; ``dense`` leaves the activations unpruned."""

    def __init__(
        self,
        linear: torch.nn.Linear,
        cfg: Config,
        *,
        name: str = "layer",
        weight: Quantized | None = None,
        dense: bool = False,
    ) -> None:
        super().__init__(linear, cfg, name=name, weight=weight)
        self.dense = dense

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See ``QuantizedLinear.product``."""
        return (dense_matmul if self.dense else sparse_matmul)(x, self.weight.q, self.cfg)


def check_fits(name: str, linear: torch.nn.Module, cfg: Config) -> None:
    """Raise ConfigError, naming the layer and the limit, when it has too many input channels or is no nn.Linear."""
    if not isinstance(linear, torch.nn.Linear):
        raise ConfigError(f"{name} is a {type(linear).__name__}: only nn.Linear layers can be replaced")
    if linear.in_features > cfg.k_max:
        raise ConfigError(
            f"{name} has K={linear.in_features}, more than K_MAX={cfg.k_max}: set K_MAX to {linear.in_features} or more"
        )


class Replacement:
    """Every decoder linear of ``model`` as what ``factory(name, linear)`` makes of it, until ``restore``.

    All are made before the first is put in place. layers: the new modules by name (``llm.decoder_linears``). A factory
    that returns the linear itself leaves it where it is.
    """

    def __init__(self, model: torch.nn.Module, factory: Factory) -> None:
        old = {name: module for name, module in decoder_linears(model) if isinstance(module, torch.nn.Linear)}
        self.layers = {name: factory(name, module) for name, module in old.items()}
        self._places = [
            (parent, child, module, self.layers[name])
            for parent in list(model.modules())
            for child, module in parent.named_children()
            for name, linear in old.items()
            if module is linear
        ]
        self.place()

    def place(self) -> None:
        """Put the new modules in place."""
        for parent, child, _, new in self._places:
            setattr(parent, child, new)

    def restore(self) -> None:
        """Give the model its own modules again."""
        for parent, child, old, _ in self._places:
            setattr(parent, child, old)


@contextlib.contextmanager
def swap(model: torch.nn.Module, factory: Factory) -> Iterator[dict[str, torch.nn.Module]]:
    """Inside the block, the model is a ``Replacement``; after it, however it ends, it has its own modules again.

    Yields the new modules by name.
    """
    replacement = Replacement(model, factory)
    try:
        yield replacement.layers
    finally:
        replacement.restore()
