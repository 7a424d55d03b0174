"""cocotb tests of the linear engine: bad packets, refused starts, abort, reset. A good job follows, and is right."""

from __future__ import annotations

import dataclasses
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from flexnm_rtl.registers import BY_NAME

from flexnm_tb.engine_bench import EngineBench
from flexnm_tb.engine_jobs import Job, Mode, modes_of
from flexnm_tb.engine_stimuli import random_job, random_shape
from flexnm_tb.illegal_jobs import illegal_modes, illegal_patterns

MOST_CYCLES = 200


def any_job(engine: EngineBench, *, one_tile: bool = False) -> Job:
    """A random job of a random mode; with ``one_tile`` its weights fit the buffer without anything being computed."""
    mode = engine.rng.choice(list(modes_of(engine.cfg).values()))
    tokens, channels, outputs = random_shape(engine.rng, engine.cfg, mode, MOST_CYCLES)
    if one_tile:
        outputs = min(outputs, engine.cfg.cols)
    return random_job(engine.rng, engine.cfg, mode, (tokens, channels, outputs))


async def good_job(engine: EngineBench, *, early: bool | None = None) -> None:
    """What comes after a bad job."""
    await engine.run(any_job(engine), early=early)


def spoil(engine: EngineBench, job: Job, stream: str, kind: str) -> tuple[Job, set[str]]:
    """The job with a bad packet, and the flags to expect. A packet of one beat is made longer instead of shorter."""
    rng = engine.rng
    packet = getattr(job, stream)
    beats = job.act_beats if stream == "acts" else job.weight_beats
    if kind == "short" and beats > 1:
        cut = job.cut_acts if stream == "acts" else job.cut_weights
        return cut(rng.randint(1, beats - 1)), {f"{stream}_short"}
    if kind == "endless":
        getattr(engine, stream).endless = True
        return job, {f"{stream}_long"}
    more = rng.randint(1, 12) * (len(packet) // beats)
    longer = np.concatenate([packet, np.frombuffer(rng.randbytes(more), dtype=np.uint8)])
    changed = dataclasses.replace(job, acts=longer) if stream == "acts" else dataclasses.replace(job, weights=longer)
    return changed, {f"{stream}_long"}


async def drained(engine: EngineBench, job: Job) -> None:
    """Wait until both packets have been taken to their end."""
    for source in (engine.acts, engine.weights):
        await engine.within(job.patience, source.wait())


async def taken(dut: Any, stream: str) -> None:
    """Wait until the first beat of an input stream has been taken."""
    valid, ready = getattr(dut, f"s_axis_{stream}_tvalid"), getattr(dut, f"s_axis_{stream}_tready")
    await RisingEdge(dut.aclk)
    while not (int(valid.value) and int(ready.value)):
        await RisingEdge(dut.aclk)


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def packets(dut: Any, stalled: bool) -> None:
    """Short, long and endless packets: the right flags, zeros for what is missing, and nothing else is wrong."""
    engine = EngineBench(dut, "packets", idle=stalled, backpressure=stalled)
    await engine.start()
    cases = [(stream, kind) for stream in ("acts", "weights") for kind in ("short", "long", "endless")]
    bad = [[case] for case in 2 * cases] + [[a, b] for a in cases[:3] for b in cases[3:]]
    for spoilt in bad:
        job, errors = any_job(engine), set()
        for stream, kind in spoilt:
            job, flags = spoil(engine, job, stream, kind)
            errors |= flags
        await engine.run(job, errors)
        await drained(engine, job)
        # Until the next start, what follows a packet without TLAST belongs to that packet.
        endless = engine.acts.endless or engine.weights.endless
        engine.acts.endless = engine.weights.endless = False
        await good_job(engine, early=False if endless else None)
    await engine.quiet()


@cocotb.test()
async def refused(dut: Any) -> None:
    """Illegal shapes and modes start nothing and take nothing; the job that is on offer runs when it is started."""
    engine = EngineBench(dut, "refused")
    cfg = engine.cfg
    await engine.start()
    good = any_job(engine)
    dense = Mode(dense=True).word
    illegal = [
        {"tokens": 0},
        {"tokens": cfg.tokens_max + 1, "mode": 0},
        {"tokens": cfg.tokens_max_dense + 1, "mode": dense},
        {"tokens": 1 << 16 | 1},
        {"channels": 0},
        {"channels": cfg.k_max + 1},
        {"channels": 1 << 20 | 1} if cfg.k_max < 1 << 20 else {"channels": 0},
        {"outputs": 0},
        *({"mode": mode.word} for mode in illegal_modes(cfg)),
        *({"mode": 0, "block_pattern": word} for word in illegal_patterns(cfg)),
    ]
    for before in (set(), {"done"}):
        engine.send(good)
        await engine.cycles(5)
        for words in illegal:
            for name, word in (good.registers | words).items():
                await engine.write(name, word)
            await engine.write("errors", 0xFFFF_FFFF)
            await engine.command(start=1)
            assert await engine.flags("errors") == {"shape"}, words
            assert await engine.flags("status") == before
        assert not int(dut.s_axis_acts_tready.value)
        assert not int(dut.s_axis_weights_tready.value)
        await engine.begin(good)
        await engine.finish(good)
    await engine.quiet()


@cocotb.test()
async def busy(dut: Any) -> None:
    """While a job runs, another start is refused and the job's registers cannot be written."""
    engine = EngineBench(dut, "busy", backpressure=True)
    await engine.start()
    for _ in range(6):
        job = any_job(engine)
        await engine.begin(job)
        assert await engine.flags("status") == {"busy"}
        await engine.command(start=1)
        for name, word in job.registers.items():
            assert not await engine.try_write(BY_NAME[name].offset, bytes(4)), f"{name} was written"
            assert await engine.read(name) == word
        engine.send(job)
        await engine.finish(job, {"not_ready"})
        await good_job(engine)
    await engine.quiet()


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def abort(dut: Any, stalled: bool) -> None:
    """A job whose packets are missing, in part or as a whole, ends with zeros for what is missing."""
    engine = EngineBench(dut, "abort", idle=stalled, backpressure=stalled)
    rng = engine.rng
    await engine.start()
    await engine.command(abort=1)
    assert not await engine.flags("errors") | await engine.flags("status")
    for _ in range(10):
        job = any_job(engine, one_tile=True)
        job = job.cut_acts(rng.choice([0, rng.randrange(job.act_beats)]))
        job = job.cut_weights(rng.choice([0, rng.randrange(job.weight_beats)]))
        engine.acts.endless = engine.weights.endless = True
        await engine.begin(job)
        engine.send(job)
        await drained(engine, job)
        await engine.cycles(rng.randrange(10))
        await engine.command(abort=1)
        await engine.finish(job, {"aborted"})
        engine.acts.endless = engine.weights.endless = False
        await good_job(engine, early=False)
    await engine.quiet()


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def abort_on_the_way(dut: Any, stalled: bool) -> None:
    """An abort while both packets are coming in: the rest of them is thrown away, and the next ones are right."""
    engine = EngineBench(dut, "abort on the way", idle=stalled, backpressure=stalled)
    await engine.start()
    aborted = 0
    for _ in range(12):
        job = any_job(engine)
        begun = [cocotb.start_soon(taken(dut, stream)) for stream in ("acts", "weights")]
        engine.send(job)
        await engine.begin(job)
        for stream in begun:
            await engine.within(job.patience, stream)
        await engine.cycles(1 + engine.rng.randrange(1 + job.ideal))
        running = "busy" in await engine.flags("status")
        await engine.command(abort=1)
        await engine.packet(job)
        errors = await engine.flags("errors")
        assert errors == {"aborted"} or (errors == set() and not running)
        aborted += len(errors)
        await drained(engine, job)
        await good_job(engine)
    assert aborted
    await engine.quiet()


@cocotb.test()
async def late_abort(dut: Any) -> None:
    """An abort when all packets have been taken changes no result."""
    engine = EngineBench(dut, "late abort")
    await engine.start()
    for _ in range(6):
        job = any_job(engine, one_tile=True)
        engine.sink.pause = True
        await engine.begin(job)
        engine.send(job)
        await drained(engine, job)
        await engine.cycles(engine.rng.randrange(20))
        await engine.command(abort=1)
        engine.sink.pause = False
        await engine.finish(job, {"aborted"})
        await good_job(engine)
    await engine.quiet()


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def reset(dut: Any, stalled: bool) -> None:
    """Reset at a random moment of a job; registers are as after power-up, and the next job is right."""
    engine = EngineBench(dut, "reset", idle=stalled, backpressure=stalled)
    rng = engine.rng
    await engine.start()
    for _ in range(10):
        job = any_job(engine)
        running = cocotb.start_soon(engine.run(job))
        await engine.cycles(rng.randint(1, 40 + 2 * job.ideal))
        running.cancel()
        await engine.reset(rng.randint(1, 3))
        assert not await engine.flags("status") | await engine.flags("errors") | await engine.flags("tokens")
        await good_job(engine)
    await engine.quiet()
