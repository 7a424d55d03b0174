"""BankedMemory against lists: banks written one at a time and read together, the read value that stays."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_rtl.banks import BankedMemory
from unit_tools import pack, simulate

SHAPES = [(1, 8, 4), (2, 5, 1), (3, 16, 7), (4, 33, 16)]


@pytest.mark.parametrize("banks, width, depth", SHAPES)
def test_random_traffic(banks: int, width: int, depth: int) -> None:
    memory = BankedMemory(banks, width, depth)

    async def bench(ctx: Any) -> None:
        rng = random.Random(depth)
        store = [[0] * depth for _ in range(banks)]
        shown = None
        reads = 0
        for cycle in range(600):
            filling = cycle < banks * depth
            bank, address = (cycle % banks, cycle // banks) if filling else (rng.randrange(banks), rng.randrange(depth))
            write, read = filling or rng.random() < 0.5, not filling and rng.random() < 0.6
            word, read_address = rng.getrandbits(width), rng.choice([address, rng.randrange(depth)])
            ports = {"write": write, "write_bank": bank, "write_addr": address, "data": word}
            for name, value in (ports | {"read": read, "read_addr": read_address}).items():
                ctx.set(getattr(memory, name), value)
            assert shown is None or ctx.get(Value.cast(memory.value)) == shown
            await ctx.tick()
            if read:  # before the write: a word written in the same cycle is not seen
                shown = pack([store[b][read_address] for b in range(banks)], width)
                reads += 1
            if write:
                store[bank][address] = word
        assert reads > 250

    simulate(memory, bench)
