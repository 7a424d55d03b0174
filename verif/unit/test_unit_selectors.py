"""RankSelector and RadixSelector against the reference's ``select``, and against each other."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from amaranth.hdl import Fragment, Value
from flexnm_model.reference import select
from flexnm_rtl.config import Config, Selector
from flexnm_rtl.select_radix import RadixSelector
from flexnm_rtl.select_rank import RankSelector
from flexnm_rtl.selection import RANK_MAX_GROUP, RANK_MAX_WIDTH, SelectorBase, make_selector, resolve_selector
from unit_tools import pack, simulate

KINDS = [RankSelector, partial(RankSelector, split=True), RadixSelector]
PATTERNS = [(1, 2), (2, 2), (2, 3), (2, 4), (3, 5), (7, 7), (4, 8), (5, 11), (8, 16), (5, 17)]
WIDE = [(1, 32), (16, 32), (31, 32), (32, 32), (30, 31)]
Block = Sequence[int]


def masks_of(
    selector: SelectorBase, blocks: Sequence[Block], *, load: float = 1.0, seed: int = 0, n: int | None = None
) -> list[int]:
    """The mask of every block. Each stage loads in a cycle with chance ``load``, when what it holds has moved on.

    n: for a selector that has N as a port.
    """
    rng = random.Random(seed)
    stages: list[int | None] = [None] * selector.latency
    masks: dict[int, int] = {}

    async def bench(ctx: Any) -> None:
        entered = 0
        if n is not None:
            ctx.set(selector.n, n)
        scores = Value.cast(selector.scores)
        while len(masks) < len(blocks):
            incoming = [entered if entered < len(blocks) else None, *stages]
            enables, room = 0, True
            for k in reversed(range(selector.latency)):
                room = room or stages[k] is None
                room = room and rng.random() < load
                if room:
                    enables |= 1 << k
                    stages[k] = incoming[k]
            word = (
                pack(blocks[entered], selector.score_width) if entered < len(blocks) else rng.getrandbits(len(scores))
            )
            ctx.set(scores, word)
            ctx.set(selector.enable, enables)
            entered += enables & 1
            await ctx.tick()
            last = stages[-1]
            if last is not None:
                mask = ctx.get(selector.mask)
                assert masks.setdefault(last, mask) == mask, "the mask changed while it waited"

    simulate(selector, bench)
    return [masks[k] for k in range(len(blocks))]


def edge_blocks(m: int, width: int) -> list[Block]:
    top = (1 << width) - 1
    equal = [[v] * m for v in (0, 1, 1 << (width - 1), top - 1, top)]
    ramp = [[top * i // max(1, m - 1) for i in range(m)]]
    spikes = [[top if i in (k, m - 1 - k) else 0 for i in range(m)] for k in range(m)]
    holes = [[0 if i == k else top for i in range(m)] for k in range(m)]
    return [*equal, *ramp, ramp[0][::-1], *spikes, *holes, [i % 2 for i in range(m)], [1 - i % 2 for i in range(m)]]


def random_blocks(m: int, width: int, count: int, seed: int) -> list[Block]:
    """From many ties to hardly any."""
    rng = random.Random(seed)
    ranges = [2, 3, min(5, 1 << width), 1 << width]
    return [[rng.randrange(ranges[k % 4]) << rng.choice((0, width - 3)) & (1 << width) - 1 for _ in range(m)]
            for k in range(count)]  # fmt: skip


def expected(blocks: Sequence[Block], n: int) -> list[int]:
    return [pack(map(int, select(block, n)), 1) for block in blocks]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n, m", PATTERNS)
@pytest.mark.parametrize("width", [4, 5, 8, 16])
def test_selects_as_the_reference(kind: Any, n: int, m: int, width: int) -> None:
    blocks = [*edge_blocks(m, width), *random_blocks(m, width, 60, seed=m)]
    assert masks_of(kind(n, m, width), blocks) == expected(blocks, n)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n, m", WIDE)
def test_selects_as_the_reference_up_to_m_32(kind: Any, n: int, m: int) -> None:
    blocks = [*edge_blocks(m, 8)[:16], *random_blocks(m, 8, 16, seed=n)]
    assert masks_of(kind(n, m, 8), blocks) == expected(blocks, n)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score_max", [128, 200, 0b101_1000, 192, 64, 3])
def test_scores_up_to_a_known_maximum(kind: Any, score_max: int) -> None:
    rng = random.Random(score_max)
    few = [score_max, score_max - 1, score_max // 2, 0]
    blocks = [[rng.choice(few) if k % 2 else rng.randint(0, score_max) for _ in range(9)] for k in range(80)]
    assert masks_of(kind(4, 9, 8, score_max=score_max), blocks) == expected(blocks, 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_every_block_of_four_two_bit_scores(kind: Any, n: int) -> None:
    blocks = list(itertools.product(range(4), repeat=4))
    assert masks_of(kind(n, 4, 2), blocks) == expected(blocks, n)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [3, 8])
def test_stages_loading_at_different_times_mix_no_blocks(kind: Any, width: int) -> None:
    blocks = random_blocks(6, width, 150, seed=1)
    for load in (0.6, 0.9):
        assert masks_of(kind(3, 6, width), blocks, load=load) == expected(blocks, 3)


@pytest.mark.parametrize("n, m, width", [(5, 11, 7), (3, 13, 4), (8, 16, 8)])
def test_all_algorithms_agree_and_keep_exactly_n(n: int, m: int, width: int) -> None:
    blocks = random_blocks(m, width, 500, seed=9)
    rank, *others = (masks_of(kind(n, m, width), blocks) for kind in KINDS)
    assert others == [rank] * len(others)
    assert {mask.bit_count() for mask in rank} == {n}


def masks_of_runs(selector: SelectorBase, runs: Sequence[tuple[int, Sequence[Block]]]) -> list[list[int]]:
    """The masks of run after run, each with its own N; between two runs only the port ``n`` changes, nothing is reset.

    In a run a block enters every cycle, so that the pipeline is full of blocks of one N.
    """
    masks: list[list[int]] = []

    async def bench(ctx: Any) -> None:
        ctx.set(selector.enable, -1)
        for n, blocks in runs:
            ctx.set(selector.n, n)
            seen = []
            for cycle in range(len(blocks) + selector.latency):
                if cycle < len(blocks):
                    ctx.set(Value.cast(selector.scores), pack(blocks[cycle], selector.score_width))
                await ctx.tick()
                seen.append(ctx.get(selector.mask))
            masks.append(seen[selector.latency - 1 : selector.latency - 1 + len(blocks)])

    simulate(selector, bench)
    return masks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m, width", [(2, 4), (3, 5), (5, 6), (11, 5), (16, 8), (17, 4), (32, 8)])
def test_n_as_a_port_takes_every_value_run_after_run(kind: Any, m: int, width: int) -> None:
    """N from 1 to M up and down, then at random, or some in random order if M is large; ``n_keep`` plays no part."""
    rng = random.Random(m)
    order = [*range(1, m + 1), *range(m, 0, -1), *(rng.randint(1, m) for _ in range(6))]
    order = [1, m, *rng.sample(range(2, m), 14)] if m > 16 else order
    edges = edge_blocks(m, width)
    runs = [(n, [*rng.sample(edges, min(6, len(edges))), *random_blocks(m, width, 5, seed=n)]) for n in order]
    found = masks_of_runs(kind(1, m, width, runtime_n=True), runs)
    assert found == [expected(blocks, n) for n, blocks in runs]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [4, 7])
def test_n_as_a_port_under_stalls(kind: Any, m: int) -> None:
    """A stable N with stages that load at different times."""
    for n in range(1, m + 1):
        blocks = random_blocks(m, 6, 40, seed=n)
        assert masks_of(kind(1, m, 6, runtime_n=True), blocks, load=0.7, n=n) == expected(blocks, n)


def built(cfg: Config) -> type[SelectorBase]:
    selector = make_selector(cfg)
    Fragment.get(selector, None)  # Amaranth warns of components nobody elaborates
    return type(selector)


def test_auto_takes_the_comparator_matrix_for_small_groups_only() -> None:
    for m in (4, RANK_MAX_GROUP, RANK_MAX_GROUP + 1, 32):
        kind = Selector.RANK if m <= RANK_MAX_GROUP else Selector.RADIX
        cfg = Config(n_keep=2, m_group=m, lanes=2)
        assert resolve_selector(cfg) is kind
        assert built(cfg) is (RankSelector if kind is Selector.RANK else RadixSelector)
        assert built(cfg.replace(selector=Selector.RANK)) is RankSelector
        assert built(cfg.replace(selector=Selector.RADIX)) is RadixSelector


def test_auto_registers_the_comparisons_of_wide_scores() -> None:
    for width in (RANK_MAX_WIDTH, RANK_MAX_WIDTH + 1):
        cfg = Config(act_width=width, weight_width=width)
        assert resolve_selector(cfg) is (Selector.RANK if width == RANK_MAX_WIDTH else Selector.RANK2)
        assert make_latency(cfg) == (1 if width == RANK_MAX_WIDTH else 2)
        assert make_latency(cfg.replace(selector="rank2")) == 2


def make_latency(cfg: Config) -> int:
    selector = make_selector(cfg)
    Fragment.get(selector, None)
    return selector.latency
