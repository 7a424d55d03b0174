"""Tokens at the boundary of a selection: what random numbers meet too rarely.

A comparator counts for the result only where it decides between the last value kept and the first one dropped, and a
kept value is rarely far from where it is on average: in 8:16 channel 8 is second in one block of 200.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import torch

_ALL_BITS = 16
"""Largest block for which every bit of every comparison decides once each way; above, one of them does."""


def boundary_blocks(rng: random.Random, n: int, m: int, width: int) -> Iterator[torch.Tensor]:
    """Blocks (M,), int32, of signed ``width``-bit numbers; for N = M there are no pairs.

    For each pair of channels: N - 1 others are larger or equal, the rest is smaller, the two are equal or one bit
    decides against all bits below it, each bit and each way; and N + 1 channels, the pair among them, are equal. For
    each position of a kept value and each channel that can be there: one block that has it there.
    """
    for i in range(m):
        for j in range(i + 1, m):
            if n < m:
                bits = range(width) if m <= _ALL_BITS else [rng.randrange(width)]
                for bit in bits:
                    yield _decided(rng, n, m, width, (i, j), 1 << bit)
                    yield _decided(rng, n, m, width, (j, i), 1 << bit)
                yield _decided(rng, n, m, width, (i, j), 0)
                yield _tied(rng, n, m, width, (i, j))
    for position in range(n):
        for channel in range(position, m - n + position + 1):
            before = rng.sample(range(channel), position)
            behind = rng.sample(range(channel + 1, m), n - 1 - position)
            yield _block(rng, m, width, dict.fromkeys([*before, channel, *behind], None), 1 << (width - 2))


def _decided(rng: random.Random, n: int, m: int, width: int, pair: tuple[int, int], bit: int) -> torch.Tensor:
    """Only one of the two is kept: the first of them, or the lower channel where ``bit`` is 0."""
    upper = rng.randrange(1 << (width - 1)) & -max(2 * bit, 1)
    low, high = upper | max(bit - 1, 0), upper | bit
    larger = rng.sample([channel for channel in range(m) if channel not in pair], n - 1)
    fixed = dict.fromkeys(larger, rng.choice([high, (1 << (width - 1)) - 1, 1 << (width - 1)]))
    return _block(rng, m, width, fixed | {pair[0]: high, pair[1]: low}, low)


def _tied(rng: random.Random, n: int, m: int, width: int, pair: tuple[int, int]) -> torch.Tensor:
    """N + 1 channels are equal, below the second of the pair where there are enough of them."""
    rest = [channel for channel in range(m) if channel not in pair]
    lower = [channel for channel in rest if channel < pair[1]]
    others = rng.sample(lower if len(lower) >= n - 1 else rest, n - 1)
    size = rng.choice([1 << (width - 1), rng.randrange(1, 1 << (width - 1))])
    return _block(rng, m, width, dict.fromkeys([*others, *pair], size), size)


def _block(rng: random.Random, m: int, width: int, sizes: Mapping[int, int | None], below: int) -> torch.Tensor:
    """Numbers of random sign with these magnitudes (None: any from ``below``); all other magnitudes are lower."""
    most = 1 << (width - 1)
    block = []
    for channel in range(m):
        size = sizes.get(channel, rng.randrange(below) if below else 0)
        size = rng.randrange(max(below, 1), most) if size is None else size
        block.append(-size if size == most or rng.random() < 0.5 else size)
    return torch.tensor(block, dtype=torch.int32)
