"""Symmetric quantisation, one scale a row: a token's activations, or the weights of an output channel.

    scale = max|x| / (2**(width-1) - 1)        q = round_half_even(x / scale), clamped to +-(2**(width-1) - 1)

computed in float64. The most negative integer is never used, zero stays zero. A row of zeros has scale 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from flexnm_rtl.config import MAX_WIDTH, MIN_WIDTH, ConfigError


@dataclass(frozen=True)
class Quantized:
    """Integers and their scales: the number stands for ``q * scale``.

    q: (…, K), int8 up to 8 bits, int16 above; two's complement. scale: float64 (…, 1), positive.
    """

    q: torch.Tensor
    scale: torch.Tensor


def quantize(x: torch.Tensor, width: int) -> Quantized:
    """Quantise each row (last dimension) of ``x`` to signed integers of ``width`` bits.

    x: float (…, K); rows are tokens for activations (T, K), outputs for weights (O, K).
    Raises ConfigError for a width outside 4..16, a scalar, integers, and NaN or infinity.
    """
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise ConfigError(f"WIDTH={width} is out of range: it must be a whole number from {MIN_WIDTH} to {MAX_WIDTH}")
    if not x.is_floating_point() or x.dim() == 0:
        raise ConfigError(f"cannot quantise {x.dtype} of shape {tuple(x.shape)}: a float tensor (…, K) is needed")
    if not bool(torch.isfinite(x).all()):
        raise ConfigError("values contain NaN or infinity: quantisation needs finite numbers")
    limit = (1 << (width - 1)) - 1
    exact = x.to(torch.float64)
    peak = exact.abs().amax(-1, keepdim=True) if x.shape[-1] else exact.new_zeros(*x.shape[:-1], 1)
    scale = peak / limit
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    q = torch.round(exact / scale).clamp_(-limit, limit)
    return Quantized(q.to(torch.int8 if width <= 8 else torch.int16), scale)


def dequantize(quantized: Quantized) -> torch.Tensor:
    """``q * scale`` as float32 (…, K)."""
    return (quantized.q.to(torch.float64) * quantized.scale).to(torch.float32)
