"""Requantisation: an exact sum of products, a bias and a fixed-point factor become an integer of few bits.

The rule, for one output; software and hardware (``flexnm_rtl.requantize``) follow it to the last bit:

    requantised    y = clamp(round_half_even((sum + bias) * multiplier / 2**shift), signed act_width bits)
    exact          y = clamp(sum + bias, signed result_width bits)

sum: signed, ``acc_width`` bits (52 at most). bias: signed 32 bits, in units of the sum. multiplier: unsigned 16 bits.
shift: unsigned 6 bits. Nothing wraps or is rounded before the one rounding written here; a value half-way between two
integers goes to the even one, for negative values too. ``clamp`` limits to ``-2**(w-1) .. 2**(w-1) - 1``.

Choosing scales. A sum stands for ``sum * s_x * s_w[o]`` with the scale ``s_x`` of the activations and ``s_w[o]`` of an
output's weights; a result that is to stand for ``y * s_y`` needs the factor ``s_x * s_w[o] / s_y``. The parameters
belong to outputs, not to tokens. So where every token has its own scale ``s_x[t]``, let the result's scale follow it:
with ``s_y[t] = s_x[t] * c`` for one number c of the layer the factor is ``s_w[o] / c``, the same for every token.
A bias in real numbers is ``bias / (s_x * s_w[o])`` in units of the sum. That is one number only if all tokens share
``s_x``; with a scale for each token a real bias has to be added after dequantisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from flexnm_rtl.config import (
    BIAS_WIDTH,
    MAX_WIDTH,
    MIN_WIDTH,
    MULTIPLIER_WIDTH,
    PARAMETER_BITS,
    ROW_SUM_WIDTH,
    SHIFT_WIDTH,
    ConfigError,
)

SUM_LIMIT = 1 << 62
"""Sums must be smaller than this in magnitude, so that adding a bias stays in int64; ``acc_width`` needs 2**51."""

_SHIFT_MAX = (1 << SHIFT_WIDTH) - 1
_NORMAL_MIN = 2.0 ** (MULTIPLIER_WIDTH - 1 - _SHIFT_MAX)


@dataclass(frozen=True)
class Requantization:
    """Parameters of a layer's outputs, int64 tensors (O,): ``bias``, ``multiplier``, ``shift``.

    Raises ConfigError for other types or shapes, and values out of range.
    """

    bias: torch.Tensor
    multiplier: torch.Tensor
    shift: torch.Tensor

    def __post_init__(self) -> None:
        self.check()

    def part(self, outputs: slice) -> Requantization:
        """The parameters of some outputs."""
        return Requantization(self.bias[outputs], self.multiplier[outputs], self.shift[outputs])

    def check(self) -> None:
        """Raise ConfigError unless shapes, types and ranges are those of the rule."""
        shapes = [tuple(x.shape) for x in (self.bias, self.multiplier, self.shift)]
        if len(set(shapes)) != 1 or len(shapes[0]) != 1:
            raise ConfigError(f"bias, multiplier, shift have shapes {shapes}: all three must be (O,)")
        half = 1 << (BIAS_WIDTH - 1)
        _check_ints("bias", self.bias, -half, half - 1)
        _check_ints("multiplier", self.multiplier, 0, (1 << MULTIPLIER_WIDTH) - 1)
        _check_ints("shift", self.shift, 0, _SHIFT_MAX)


def from_scales(scale: torch.Tensor, bias: torch.Tensor | None = None) -> Requantization:
    """Fixed-point parameters for the real factors from sum to result; the only place where they are derived.

    scale: float (O,), taken as float64. bias: (O,) in units of the sum, integers, or floats that get rounded half to
    even; None for zeros. ``multiplier / 2**shift`` is the number nearest to ``scale`` with a multiplier in
    ``2**15 .. 2**16 - 1``, an exact half-way case going to the even multiplier: at most ``2**-16`` of ``scale`` off.
    A scale below ``2**-48`` would need a larger shift than there is: it gets shift 63 and the nearest
    multiplier of ``2**15`` or less, down to 0: at most ``2**-64`` off. A scale of 0 gives multiplier 0.
    Raises ConfigError for a negative, infinite or NaN scale, one that rounds to ``2**16`` or more, and a bias that is
    not finite or does not fit 32 bits.
    """
    if not scale.is_floating_point() or scale.dim() != 1:
        raise ConfigError(f"cannot use {scale.dtype} of shape {tuple(scale.shape)} as scales: float (O,) is needed")
    exact = scale.to(torch.float64)
    if not bool((torch.isfinite(exact) & (exact >= 0)).all()):
        raise ConfigError("a scale is negative, infinite or NaN: scales must be finite and not negative")
    fraction, exponent = torch.frexp(exact)  # exact = fraction * 2**exponent, 1/2 <= fraction < 1
    multiplier = torch.round(fraction * (1 << MULTIPLIER_WIDTH)).to(torch.int64)
    shift = MULTIPLIER_WIDTH - exponent.to(torch.int64)
    carried = multiplier == 1 << MULTIPLIER_WIDTH  # rounded up to the next power of two
    multiplier, shift = torch.where(carried, multiplier // 2, multiplier), shift - carried.to(torch.int64)
    small = exact < _NORMAL_MIN
    multiplier = torch.where(small, torch.round(exact * 2.0**_SHIFT_MAX).to(torch.int64), multiplier)
    shift = torch.where(small, torch.full_like(shift, _SHIFT_MAX), shift)
    if bool((shift < 0).any()):
        largest = (1 << MULTIPLIER_WIDTH) - 1
        raise ConfigError(f"scale {float(exact.max())} is too large: the largest factor is {largest}")
    return Requantization(_integer_bias(bias, multiplier), multiplier, shift)


def requantize(sums: torch.Tensor, r: Requantization, width: int) -> torch.Tensor:
    """The rule for requantised results: int64 sums (T, O), below ``SUM_LIMIT`` in magnitude, to int64 (T, O).

    width: bits of a signed result, 4 to 16. Exact. Raises ConfigError for other shapes, types and ranges.
    """
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise ConfigError(f"width={width} is out of range: it must be a whole number from {MIN_WIDTH} to {MAX_WIDTH}")
    _check_sums(sums, r)
    total = sums + r.bias
    # The product may need 79 bits. In two parts it is high * 2**32 + low with 0 <= low < 2**32.
    low = (total & 0xFFFF_FFFF) * r.multiplier
    high = (total >> 32) * r.multiplier + (low >> 32)
    low &= 0xFFFF_FFFF
    left, right = (32 - r.shift).clamp(min=0), (r.shift - 32).clamp(min=0)
    # Moving ``high`` left could push bits out. From 2**30 on the result is clamped anyway, if it does not move right.
    high = torch.where(r.shift > 32, high, high.clamp(-(1 << 30), 1 << 30))
    low_shift = r.shift.clamp(max=32)
    floor = (high << left >> right) + (low >> low_shift)
    lost = ((high & _ones(right)) << 32) + (low & _ones(low_shift))
    half = 1 << (r.shift - 1).clamp(min=0)  # shift 0 loses nothing, which is below this half
    up = (lost > half) | ((lost == half) & (floor & 1 == 1))
    return _clamp(floor + up, width)


def add_bias(sums: torch.Tensor, r: Requantization, result_width: int) -> torch.Tensor:
    """The rule for exact results: int64 sums (T, O), below ``SUM_LIMIT`` in magnitude, to int64 (T, O).

    result_width: bits of a signed result, 32 or 64. Raises ConfigError for other shapes, types and ranges.
    """
    if result_width not in (32, 64):
        raise ConfigError(f"result_width={result_width} is unknown: choose 32 or 64")
    _check_sums(sums, r)
    return _clamp(sums + r.bias, result_width)


def parameter_bits(r: Requantization, row_sums: torch.Tensor | None = None) -> list[int]:
    """One unsigned 64-bit word an output, as the weight stream carries it: bias in bits 31..0, two's complement,
    multiplier in bits 47..32, shift in bits 53..48, zeros above.

    row_sums: int64 (O,), for an engine with ``token_shift``: in bits 95..64, two's complement. Raises ConfigError for
    another shape or numbers out of range.
    """
    sums = torch.zeros_like(r.bias) if row_sums is None else row_sums
    if sums.shape != r.bias.shape:
        raise ConfigError(f"{len(sums)} sums of weights for {len(r.bias)} outputs: one each is needed")
    half = 1 << (ROW_SUM_WIDTH - 1)
    _check_ints("a sum of weights", sums, -half, half - 1)
    columns = zip(r.bias.tolist(), r.multiplier.tolist(), r.shift.tolist(), sums.tolist(), strict=True)
    shift_at, sum_at = BIAS_WIDTH + MULTIPLIER_WIDTH, PARAMETER_BITS
    bias_mask, sum_mask = (1 << BIAS_WIDTH) - 1, (1 << ROW_SUM_WIDTH) - 1
    return [
        (b & bias_mask) | m << BIAS_WIDTH | s << shift_at | (total & sum_mask) << sum_at for b, m, s, total in columns
    ]


def _integer_bias(bias: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    if bias is None:
        return torch.zeros_like(like)
    if bias.is_floating_point():
        exact = torch.round(bias.to(torch.float64))
        if not bool((exact.abs() <= 1 << BIAS_WIDTH).all()):  # NaN fails too; the exact range is checked on integers
            raise ConfigError(f"a bias is not finite or beyond signed {BIAS_WIDTH} bits: choose a smaller one")
        return exact.to(torch.int64)
    return bias.to(torch.int64)


def _ones(count: torch.Tensor) -> torch.Tensor:
    return (1 << count) - 1


def _clamp(values: torch.Tensor, width: int) -> torch.Tensor:
    half = 1 << (width - 1)
    return values.clamp(-half, half - 1)


def _check_ints(name: str, values: torch.Tensor, low: int, high: int) -> None:
    if values.dtype != torch.int64:
        raise ConfigError(f"{name} is {values.dtype}: int64 is needed")
    if bool(((values < low) | (values > high)).any()):
        raise ConfigError(f"{name} is out of range: whole numbers from {low} to {high} are needed")


def _check_sums(sums: torch.Tensor, r: Requantization) -> None:
    if sums.dim() != 2 or sums.shape[1] != r.bias.shape[0]:
        raise ConfigError(f"sums of shape {tuple(sums.shape)} do not fit {r.bias.shape[0]} outputs: (T, O) is needed")
    _check_ints("sums", sums, 1 - SUM_LIMIT, SUM_LIMIT - 1)
