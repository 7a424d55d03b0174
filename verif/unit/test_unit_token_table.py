"""TokenTable: what was written is found, in the next cycle, and ``gains`` never promises too much or too late."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from flexnm_rtl.config import Config
from flexnm_rtl.token_table import TokenTable
from unit_tools import simulate

CFG = Config(n_keep=2, m_group=4, rows=4, cols=4, lanes=1, k_max=16, t_max=10, act_width=6)
METHODS = ("static_shift", "token_shift", "variance")
KINDS = ("exponent", "shift", "gain")
SUBSETS = [subset for n in (1, 2, 3) for subset in itertools.combinations(METHODS, n)]


class Driver:
    """Writes and reads in the same cycles, and compares what is shown with what was written."""

    def __init__(self, cfg: Config, seed: int) -> None:
        self.dut = TokenTable(cfg)
        self.rng = random.Random(seed)
        self.stored: dict[str, dict[int, int]] = {name: {} for name in self.dut.kinds}
        self.written = 0
        """Gains since the start."""
        self.promised = 0
        """Those of them that can be looked up: one cycle later."""

    def put(self, ctx: Any, name: str, token: int | None) -> None:
        """Write a random number for a token, or none: then the other ports are garbage."""
        dut, rng = self.dut, self.rng
        port = getattr(dut, f"{name}_in")
        half = 1 << (len(port) - 1) if port.shape().signed else 0
        value = rng.choice((-half, (1 << len(port)) - 1 - half, rng.getrandbits(len(port)) - half))
        ctx.set(getattr(dut, f"write_{name}"), token is not None)
        ctx.set(getattr(dut, f"{name}_token"), rng.randrange(dut.depth) if token is None else token)
        ctx.set(port, value)
        if token is not None:
            self.stored[name][token] = value

    async def cycle(self, ctx: Any, tokens: dict[str, int], *, start: bool = False) -> None:
        """A cycle with writes for these tokens, by kind, and a read."""
        dut = self.dut
        there = self.stored
        seen = {name: dict(entries) for name, entries in there.items()}  # a write of this cycle is not seen
        for name in there:
            self.put(ctx, name, tokens.get(name))
        read = self.rng.randrange(dut.depth)
        ctx.set(dut.read, read)
        ctx.set(dut.start, start)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for name, entries in seen.items():
            assert read not in entries or ctx.get(getattr(dut, name)) == entries[read], name
        if "gain" in there:
            self.promised = 0 if start else self.written
            self.written = 0 if start else self.written + ("gain" in tokens)
            assert ctx.get(dut.gains) == self.promised
            assert start or read >= self.promised or read in seen["gain"]

    async def job(self, ctx: Any, cycles: int) -> None:
        """Start, with a gain that comes too late; then shifts and gains in order, exponents anywhere at any time."""
        rng, dut = self.rng, self.dut
        late = {name: rng.randrange(dut.depth) for name in self.stored if rng.random() < 0.5}
        await self.cycle(ctx, late, start=True)
        following = dict.fromkeys(self.stored, 0)
        for _ in range(cycles):
            tokens = {}
            for name, token in following.items():
                if token < dut.depth and rng.random() < 0.5:
                    tokens[name] = rng.randrange(dut.depth) if name == "exponent" else token
                    following[name] = token + (name != "exponent")
            await self.cycle(ctx, tokens)


@pytest.mark.parametrize("subset", SUBSETS, ids="-".join)
def test_entries_and_gains(subset: tuple[str, ...]) -> None:
    """Jobs without a pause between them, some of them given up; entries outlive a start."""
    driver = Driver(CFG.replace(**dict.fromkeys(subset, True)), seed=len(subset))
    assert list(driver.stored) == [kind for method, kind in zip(METHODS, KINDS, strict=True) if method in subset]
    assert driver.dut.depth == 12, "tokens that fill up the last group have entries"

    async def bench(ctx: Any) -> None:
        for _ in range(20):
            await driver.job(ctx, driver.rng.choice((0, 1, 2, 5, 60)))

    simulate(driver.dut, bench)
