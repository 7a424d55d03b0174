"""FlexibleSelector against the reference's ``select`` on each of its blocks, in every pattern."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_model.reference import select
from flexnm_rtl.select_flexible import SMALLEST, FlexibleSelector
from unit_tools import pack, simulate

Run = tuple[int, int, list[list[int]]]


def masks_of_runs(selector: FlexibleSelector, runs: Sequence[Run], load: float = 1.0) -> list[list[int]]:
    """Masks of runs (level, n, blocks); between runs only the pattern changes, nothing is reset.

    load: chance of a cycle in which the whole pipeline moves.
    """
    rng = random.Random(1)
    masks: list[list[int]] = []

    async def bench(ctx: Any) -> None:
        for level, n, blocks in runs:
            ctx.set(selector.level, level)
            ctx.set(selector.n, n)
            seen: list[int] = []
            cycle = 0
            while len(seen) < len(blocks) + selector.latency:
                moves = rng.random() < load
                ctx.set(selector.enable, -1 if moves else 0)
                data = pack(blocks[cycle], selector.score_width) if cycle < len(blocks) else 0
                ctx.set(Value.cast(selector.scores), data if moves else rng.getrandbits(8))
                await ctx.tick()
                if moves:
                    cycle += 1
                    seen.append(ctx.get(selector.mask))
            masks.append(seen[selector.latency - 1 : selector.latency - 1 + len(blocks)])

    simulate(selector, bench)
    return masks


def expected(block: Sequence[int], n: int, m: int) -> int:
    bits = [int(bit) for start in range(0, len(block), m) for bit in select(block[start : start + m], n)]
    return pack(bits, 1)


def blocks_of(rng: random.Random, width: int, largest: int, count: int) -> list[list[int]]:
    """From all equal over many ties to hardly any; spikes at one end."""
    ranges = [1, 2, 3, largest + 1, largest + 1]
    blocks = [[min(largest, rng.randrange(ranges[k % 5]) * rng.choice((1, 3, largest // 3))) for _ in range(width)]
              for k in range(count)]  # fmt: skip
    return [*blocks, [largest] * width, list(range(width)), list(range(width))[::-1]]


@pytest.mark.parametrize("width, score_width, score_max", [(8, 5, 16), (16, 7, None), (32, 8, 128)])
def test_every_pattern_run_after_run(width: int, score_width: int, score_max: int | None) -> None:
    rng = random.Random(width)
    selector = FlexibleSelector(width, score_width, score_max=score_max)
    largest = selector.score_max
    runs: list[Run] = []
    for level in range(selector.levels):
        m = SMALLEST << level
        for n in sorted({1, 2, 3, m // 2, m - 1, m} | ({*range(1, m + 1)} if score_width < 8 else set())):
            chosen = blocks_of(rng, width, largest, 5)
            runs.append((level, n, [[min(v, largest) for v in block] for block in chosen]))
    rng.shuffle(runs)
    found = masks_of_runs(selector, runs)
    for (level, n, blocks), masks in zip(runs, found, strict=True):
        m = SMALLEST << level
        assert masks == [expected(block, n, m) for block in blocks], f"{n}:{m}"


def test_stalls_mix_no_blocks() -> None:
    rng = random.Random(3)
    selector = FlexibleSelector(16, 6)
    runs = [(level, n, blocks_of(rng, 16, 63, 30)) for level, n in ((0, 3), (1, 5), (2, 9))]
    found = masks_of_runs(selector, runs, load=0.6)
    for (level, n, blocks), masks in zip(runs, found, strict=True):
        assert masks == [expected(block, n, SMALLEST << level) for block in blocks]
