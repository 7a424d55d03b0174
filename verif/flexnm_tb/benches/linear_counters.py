"""cocotb tests of the linear engine's long counters, most of whose bits no simulation lasts long enough to change.

They look at registers inside the engine and change them, so these have to be visible: ``INTERNALS``.
"""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.triggers import FallingEdge

from flexnm_tb.engine_bench import EngineBench
from flexnm_tb.engine_jobs import MODES
from flexnm_tb.engine_stimuli import random_job
from flexnm_tb.register_model import COUNTERS

_COUNTS = tuple(f"count_{name}" for name in COUNTERS[1:])
INTERNALS = {
    "registers": (*(f"counter_{name}" for name in COUNTERS), *_COUNTS, "busy", "start"),
    **dict.fromkeys(("feeder_walk", "weights_walk", "epilogue_walk"), ("o_left",)),
}
"""Signals by module, named without the engine's own name."""
_WORD = (1 << 32) - 1
_OUTPUT_BITS = 24
_TILES = 4


@cocotb.test()
async def carries(dut: Any) -> None:
    """Counters that are set to random numbers in every cycle go on from there, start again at 0, and can be read."""
    engine = EngineBench(dut, "carries", idle=True, backpressure=True)
    rng, cfg, inside = engine.rng, engine.cfg, dut.core.registers
    counters = [getattr(inside, f"counter_{name}") for name in COUNTERS]
    await engine.start()

    async def count() -> None:
        """Set, and compare a cycle later: at falling edges, where nothing else changes."""
        await FallingEdge(dut.aclk)
        while True:
            # A run of ones at the lower end, so that the carry gets anywhere.
            before = [rng.getrandbits(32) | ((1 << rng.randrange(33)) - 1) for _ in COUNTERS]
            for counter, value in zip(counters, before, strict=True):
                counter.value = value
            started, goes_on = int(inside.start.value), int(inside.busy.value)
            counts = [1, *(int(getattr(inside, name).value) for name in _COUNTS)]
            await FallingEdge(dut.aclk)
            for name, counter, value, counted in zip(COUNTERS, counters, before, counts, strict=True):
                want = 0 if started else (value + (goes_on & counted)) & _WORD
                assert int(counter.value) == want, f"{name}: {value:#x} became {int(counter.value):#x}"

    for mode in MODES.values():
        job = random_job(rng, cfg, mode, (rng.randint(1, cfg.tokens_max_dense), rng.randint(1, cfg.k_max), cfg.cols))
        counting = cocotb.start_soon(count())
        await engine.begin(job)
        engine.send(job)
        assert (await engine.packet(job) == job.expected).all()
        counting.cancel()
        for _ in range(3):
            words = [rng.getrandbits(32) for _ in COUNTERS]
            for counter, word in zip(counters, words, strict=True):
                counter.value = word
            assert [await engine.read(name) for name in COUNTERS] == words
    await engine.reset()
    assert not any([await engine.read(name) for name in COUNTERS])


@cocotb.test()
async def outputs(dut: Any) -> None:
    """Jobs of up to 2**24 - 1 outputs: their first tiles, in which every bit of what is left changes in some job."""
    engine = EngineBench(dut, "outputs")
    rng, cfg = engine.rng, engine.cfg
    walks = {name: getattr(dut.core, name).walk.o_left for name in ("feeder", "weights", "epilogue")}
    await engine.start()
    most = (1 << _OUTPUT_BITS) - 1
    limits = [most, *((1 << bit) + rng.randrange(cfg.cols) for bit in range(8, _OUTPUT_BITS))]
    limits += [rng.randrange(_TILES * cfg.cols, most) for _ in range(8)]
    for limit in limits:
        job = random_job(rng, cfg, MODES["sparse"], (1, 1, _TILES * cfg.cols))
        for name, word in (job.registers | {"outputs": limit}).items():
            await engine.write(name, word)
        await engine.command(start=1)
        engine.weights.endless = True
        engine.send(job)
        wanted = [limit - tile * cfg.cols for tile in range(_TILES)]
        seen: dict[str, list[int]] = {name: [] for name in walks}
        for _ in range(job.patience):
            await FallingEdge(dut.aclk)
            for name, left in walks.items():
                if seen[name][-1:] != [int(left.value)]:
                    seen[name].append(int(left.value))
            if all(len(values) >= _TILES for values in seen.values()):
                break
        for name, values in seen.items():
            assert values[:_TILES] == wanted, f"{name}, {limit} outputs: {values} are left"
        await engine.reset()
