"""The rules of flexnm in slow, obvious Python on plain numbers: what every other implementation is compared with.

Conventions: a block is M consecutive channels of one token, channel 0 first; two's complement integers are Python
ints in ``-2**(w-1) .. 2**(w-1)-1``; every error is a ConfigError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

from flexnm_rtl.config import ConfigError, Metadata, bits_for

Number = TypeVar("Number", int, float)


def magnitude(value: Number) -> Number:
    """``|value|``; the magnitude of the most negative integer is one more than the largest positive one."""
    return -value if value < 0 else value


def select(scores: Sequence[int] | Sequence[float], n: int) -> list[bool]:
    """Mask of one block: exactly ``n`` of ``scores`` with the largest magnitude; equal ones: the lower index wins.

    Raises ConfigError for ``n`` outside ``1 .. len(scores)`` and for NaN.
    """
    if not 1 <= n <= len(scores):
        raise ConfigError(f"N={n} is out of range: a block of {len(scores)} needs 1 <= N <= {len(scores)}")
    if any(math.isnan(s) for s in scores):
        raise ConfigError("scores contain NaN: selection needs numbers")
    order = sorted(range(len(scores)), key=lambda i: (-magnitude(scores[i]), i))
    kept = set(order[:n])
    return [i in kept for i in range(len(scores))]


def pad_token(values: Sequence[Number], m: int) -> list[list[Number]]:
    """A token's channels as blocks of ``m``; the last one is filled up with zeros."""
    blocks = [list(values[i : i + m]) for i in range(0, len(values), m)]
    if blocks:
        zero = type(values[0])(0)
        blocks[-1] += [zero] * (m - len(blocks[-1]))
    return blocks


def compress_block(values: Sequence[Number], n: int) -> tuple[list[Number], list[bool]]:
    """The ``n`` kept values of one block in ascending channel order, and the mask (element i = channel i)."""
    mask = select(values, n)
    return [v for v, keep in zip(values, mask, strict=True) if keep], mask


def decompress_block(kept: Sequence[Number], mask: Sequence[bool]) -> list[Number]:
    """The block again, zero where nothing was kept. Raises ConfigError when values and mask do not match."""
    if len(kept) != sum(mask):
        raise ConfigError(f"{len(kept)} values for a mask of {sum(mask)} ones: they must be as many")
    values = iter(kept)
    zero = type(kept[0])(0)
    return [next(values) if keep else zero for keep in mask]


def pack(mask: Sequence[bool], metadata: Metadata) -> int:
    """One block's metadata as an unsigned integer; bit layouts: ``flexnm_model.metadata``."""
    if metadata is Metadata.BITMASK:
        return sum(1 << i for i, keep in enumerate(mask) if keep)
    width = bits_for(len(mask))
    channels = [i for i, keep in enumerate(mask) if keep]
    if metadata is Metadata.ENUMERATIVE:
        return sum(math.comb(channel, j + 1) for j, channel in enumerate(channels))
    return sum(channel << (position * width) for position, channel in enumerate(channels))


def unpack(word: int, n: int, m: int, metadata: Metadata) -> list[bool]:
    """The mask of ``m`` channels that ``pack`` turned into ``word``. Raises ConfigError if no such mask exists."""
    if metadata is Metadata.BITMASK:
        mask = [bool(word >> i & 1) for i in range(m)]
    elif metadata is Metadata.ENUMERATIVE:
        mask, rest, left = [False] * m, word, n
        for channel in reversed(range(m)):
            if left and rest >= math.comb(channel, left):
                mask[channel], rest, left = True, rest - math.comb(channel, left), left - 1
    else:
        width = bits_for(m)
        channels = [(word >> (p * width)) & ((1 << width) - 1) for p in range(n)]
        mask = [i in channels for i in range(m)]
    if sum(mask) != n or pack(mask, metadata) != word:
        raise ConfigError(f"metadata {word:#x} is no {metadata} of {n} ascending channels out of {m}")
    return mask


def wrap(value: int, width: int) -> int:
    """``value`` as a two's complement register of ``width`` bits holds it."""
    half = 1 << (width - 1)
    return (value + half) % (2 * half) - half


def sparse_matmul(
    x: Sequence[Sequence[int]], w: Sequence[Sequence[int]], n: int, m: int, acc_width: int
) -> list[list[int]]:
    """``S(x) w^T``: tokens x (T x K) against dense weights w (O x K), accumulated in ``acc_width`` bits: T x O."""
    result = []
    for token in x:
        masks = [keep for block in pad_token(token, m) for keep in select(block, n)]
        row = []
        for weights in w:
            total = 0
            for value, weight, keep in zip(token, weights, masks, strict=False):
                if keep:
                    total = wrap(total + value * weight, acc_width)
            row.append(total)
        result.append(row)
    return result


def quantize(values: Sequence[float], width: int) -> tuple[list[int], float]:
    """One row in symmetric ``width``-bit integers, and its scale; the rule is in ``flexnm_model.quantize``."""
    if not all(math.isfinite(v) for v in values):
        raise ConfigError("values contain NaN or infinity: quantisation needs finite numbers")
    limit = (1 << (width - 1)) - 1
    scale = max((magnitude(v) for v in values), default=0.0) / limit or 1.0
    return [max(-limit, min(limit, round(v / scale))) for v in values], scale


def clamp(value: int, width: int) -> int:
    """``value`` limited to what signed ``width`` bits hold; an exact result is ``clamp(total + bias, width)``."""
    half = 1 << (width - 1)
    return max(-half, min(half - 1, value))


def requantize(total: int, bias: int, multiplier: int, shift: int, width: int) -> int:
    """One exact sum as a signed ``width``-bit result; the rule is in ``flexnm_model.requantize``."""
    scaled = Fraction((total + bias) * multiplier, 1 << shift)
    return clamp(round(scaled), width)  # round() of a Fraction is exact and takes halves to the even neighbour
