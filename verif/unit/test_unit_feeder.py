"""Feeder between two memories of Python: right operands in the right order, never too early, nothing overwritten."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from flexnm_rtl.config import Config, ceil_div
from flexnm_rtl.feeder import Feeder
from flexnm_rtl.weight_loader import weight_depth
from unit_tools import simulate

CFG = Config(n_keep=2, m_group=5, lanes=1, rows=3, cols=4, k_max=20, t_max=9)
ONE_BEAT = Config(n_keep=8, m_group=8, rows=2, cols=2, k_max=24, t_max=6)
SHORT = CFG.replace(selector="rank2")
Shape = tuple[int, int, int, bool]
"""Tokens, channels, outputs, dense."""
SHAPES: list[Shape] = [
    (1, 1, 1, False), (9, 20, 13, False), (3, 20, 4, False), (4, 6, 9, True), (3, 5, 30, True), (2, 11, 5, False),
    (3, 20, 8, True), (9, 3, 4, False), (1, 20, 17, False),
]  # fmt: skip


def operands(cfg: Config, shape: Shape) -> list[tuple[int, int, bool, bool]]:
    """For every read in order: activation entry, weight block since the job's start, hold, last."""
    tokens, channels, outputs, dense = shape
    blocks, beats = cfg.blocks(channels), cfg.dense_beats if dense else 1
    groups, tiles = ceil_div(tokens, cfg.rows), ceil_div(outputs, cfg.cols)
    return [
        ((group * blocks + k) * beats + beat, tile * blocks + k, beat < beats - 1, (k, beat) == (blocks - 1, beats - 1))
        for tile in range(tiles)
        for group in range(groups)
        for k in range(blocks)
        for beat in range(beats)
    ]


@dataclass
class World:
    """Everything around a feeder, cycle by cycle: both loaders, the ring's contents, an array that takes operands."""

    cfg: Config
    shape: Shape
    rng: random.Random
    acts: float = 1.0
    weights: float = 1.0
    take: float = 1.0
    ring: dict[int, int] = field(default_factory=dict)
    loaded: int = 0
    filled: int = 0
    reads: int = 0
    looked_up: int = 0
    known: tuple[int, int] = (0, 0)
    first: bool = False  # there is something in the first stage
    metadata: list[int] = field(default_factory=list)
    waits: dict[str, int] = field(default_factory=lambda: {"acts": 0, "weights": 0})

    async def job(self, ctx: Any, dut: Feeder) -> int:
        """Run the job; returns its cycles from the first possible read to the last operand taken."""
        self.metadata = [-1] * dut.latency
        expected = operands(self.cfg, self.shape)
        for name, value in zip(("tokens", "channels", "outputs", "dense"), self.shape, strict=True):
            ctx.set(getattr(dut, name), value)
        ctx.set(dut.start, 1)
        ctx.set(dut.act_filled, 0)
        await ctx.tick()
        ctx.set(dut.start, 0)
        last_act, last_weight = max(e[0] for e in expected), max(e[1] for e in expected)
        taken = 0
        for cycle in range(100 + int(40 * len(expected))):
            if taken == len(expected):
                return cycle
            entering = self._load(ctx, dut, last_weight)
            ctx.set(dut.act_filled, self.filled)
            ctx.set(dut.ready, self.rng.random() < self.take)
            self._check(ctx, dut, expected, taken)
            self.known = self.filled, self.loaded
            taken += ctx.get(dut.valid) and ctx.get(dut.ready)
            await ctx.tick()
            if entering:
                self.ring[self.loaded % weight_depth(self.cfg)] = self.loaded
                self.loaded += 1
            self.filled += self.filled <= last_act and self.rng.random() < self.acts
        raise AssertionError("the job does not end")

    def _load(self, ctx: Any, dut: Feeder, last_weight: int) -> bool:
        entering = ctx.get(dut.weight_room) and self.loaded <= last_weight and self.rng.random() < self.weights
        ctx.set(dut.weight_entered, entering)
        return bool(entering)

    def _check(self, ctx: Any, dut: Feeder, expected: list[tuple[int, int, bool, bool]], taken: int) -> None:
        valid, read = ctx.get(dut.valid), ctx.get(dut.read)
        assert valid == (self.looked_up > taken), "operands are offered from the cycle after the look-up until taken"
        if valid:
            assert (ctx.get(dut.hold), ctx.get(dut.last)) == expected[taken][2:]
            assert self.metadata[-1] == expected[taken][0], "the metadata of another block"
        self._look_up(ctx, dut, expected)
        waits = {name: ctx.get(getattr(dut, f"wait_{name}")) for name in self.waits}
        full = self.first if dut.spaced else self.reads - taken == dut.latency and not ctx.get(dut.ready)
        self.first = self.first and not ctx.get(dut.decode[0])
        if self.reads == len(expected) or full:
            assert not any((read, *waits.values()))
            return
        act, weight = expected[self.reads][:2]
        acts_there, weights_there = act < self.known[0], weight < self.known[1]  # as of the cycle before
        assert waits == {"acts": not acts_there, "weights": acts_there and not weights_there}
        assert read == (acts_there and weights_there), "a read as soon as there is room and both operands"
        for name, value in waits.items():
            self.waits[name] += value
        if read:
            assert ctx.get(dut.act_addr) == act
            self.metadata[0] = act
            self.reads += 1
            self.first = True

    def _look_up(self, ctx: Any, dut: Feeder, expected: list[tuple[int, int, bool, bool]]) -> None:
        """The memories of values and weights, and the registers of the decoder, entry numbers in the place of words."""
        for k in reversed(range(dut.latency - 1)):
            if ctx.get(dut.decode[k]):
                self.metadata[k + 1] = self.metadata[k]
        if ctx.get(dut.read_operands):
            assert self.reads > self.looked_up, "values before their metadata"
            act, weight = expected[self.looked_up][:2]
            assert ctx.get(dut.value_addr) == act
            assert self.ring.get(ctx.get(dut.weight_addr)) == weight, "not the block this look-up needs"
            self.looked_up += 1


def run(cfg: Config, shapes: list[Shape], **paces: float) -> list[World]:
    """Jobs one after another in one feeder."""
    dut = Feeder(cfg)
    worlds = [World(cfg, shape, random.Random(i), **paces) for i, shape in enumerate(shapes)]
    cycles = []

    async def bench(ctx: Any) -> None:
        for world in worlds:
            cycles.append(await world.job(ctx, dut))
            for _ in range(3):
                assert not ctx.get(dut.read)
                assert not ctx.get(dut.valid)
                await ctx.tick()

    simulate(dut, bench)
    assert len(cycles) == len(shapes)
    return worlds


@pytest.mark.parametrize("acts, weights, take", [
    (1.0, 1.0, 1.0), (0.2, 1.0, 1.0), (1.0, 0.2, 1.0), (1.0, 1.0, 0.2), (0.5, 0.5, 0.5), (1.0, 0.6, 0.7),
])  # fmt: skip
def test_jobs_one_after_another(acts: float, weights: float, take: float) -> None:
    for cfg in (CFG, SHORT):
        run(cfg, SHAPES, acts=acts, weights=weights, take=take)
    shapes = [(t, k, o, d) for t, k, o, _ in SHAPES if t <= ONE_BEAT.tokens_max for d in (False, True)]
    run(ONE_BEAT, shapes, acts=acts, weights=weights, take=take)


@pytest.mark.parametrize("cfg, spacing", [(CFG, 1), (SHORT, 2)])
@pytest.mark.parametrize("shape", [(9, 20, 13, False), (3, 20, 8, True)])
def test_an_operand_a_cycle_when_everything_is_there(shape: Shape, cfg: Config, spacing: int) -> None:
    """Or every other cycle, where the array takes no more."""
    dut = Feeder(cfg)
    world = World(cfg, shape, random.Random(0))
    expected = operands(cfg, shape)
    cycles = []

    async def bench(ctx: Any) -> None:
        cycles.append(await world.job(ctx, dut))

    simulate(dut, bench)
    assert cycles == [spacing * (len(expected) - 1) + 3 + dut.latency], (
        "a cycle until the first entry of both has come, and one until that is known"
    )
    assert world.waits == {"acts": 2, "weights": 0}


def test_waits_are_told_apart() -> None:
    slow_acts, slow_weights = (run(CFG, [(3, 20, 8, False)], **{p: 0.1})[0].waits for p in ("acts", "weights"))
    assert slow_acts["acts"] > 10 > slow_acts["weights"]
    assert slow_weights["weights"] > 10 > slow_weights["acts"]


def test_the_ring_fills_up_while_the_array_stands() -> None:
    """Two tiles of the longest rows are loaded ahead, and not an entry more."""
    dut = Feeder(CFG)

    async def bench(ctx: Any) -> None:
        for name, value in (("tokens", 9), ("channels", 20), ("outputs", 40), ("start", 1)):
            ctx.set(getattr(dut, name), value)
        await ctx.tick()
        ctx.set(dut.start, 0)
        entered = 0
        for _ in range(30):
            room = ctx.get(dut.weight_room)
            ctx.set(dut.weight_entered, room)
            entered += room
            await ctx.tick()
        assert entered == weight_depth(CFG) == 2 * 4

    simulate(dut, bench)
