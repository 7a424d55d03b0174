"""cocotb tests of the decode engine with cocotbext-axi's memory: jobs, bad packets and memories, registers, reset."""

from __future__ import annotations

from typing import Any

import cocotb
import torch
from cocotb.triggers import ClockCycles, RisingEdge
from flexnm_rtl.registers import DECODE, Access

from flexnm_tb.decode_bench import DecodeBench, DecodeJob, random_job

JOBS = 12


@cocotb.test()
@cocotb.parametrize(stalled=[False, True], slow=[False, True])
async def jobs(dut: Any, stalled: bool, slow: bool) -> None:
    """Random shapes, patterns and modes back to back; stalled: streams pause; slow: the memory does."""
    engine = DecodeBench(dut, f"jobs {slow}", idle=stalled, backpressure=stalled, slow_memory=slow)
    await engine.start()
    for _ in range(JOBS):
        await engine.run(random_job(engine.rng, engine.cfg))
    await engine.quiet()


@cocotb.test()
async def extremes(dut: Any) -> None:
    """1 x 1 x 1, and the most negative numbers in the largest job."""
    engine = DecodeBench(dut, "extremes")
    cfg = engine.cfg
    await engine.start()
    for t, k, o in ((1, 1, 1), (cfg.rows, cfg.k_max, cfg.tile_outputs + 1)):
        x = torch.full((t, k), -(1 << (cfg.act_width - 1)), dtype=torch.int32)
        w = torch.full((o, k), -(1 << (cfg.weight_width - 1)), dtype=torch.int32)
        await engine.run(DecodeJob(cfg, x, w, keep=cfg.m_group, dense=True))
        await engine.run(DecodeJob(cfg, x, w, keep=1, dense=False))
    await engine.quiet()


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def packets(dut: Any, stalled: bool) -> None:
    """Short, long and endless activation packets set their flag, the job ends, the next one is right."""
    engine = DecodeBench(dut, "packets", idle=stalled, backpressure=stalled)
    await engine.start()
    for _ in range(4):
        for kind, flag in (("short", "acts_short"), ("long", "acts_long"), ("endless", "acts_long")):
            job = random_job(engine.rng, engine.cfg, least_blocks=2)
            await engine.begin(job)
            engine.acts.endless = kind == "endless"
            beat = engine.beat_bytes
            data = job.packet.tobytes()
            data = data[:-beat] if kind == "short" else data + bytes(beat if kind == "long" else 0)
            engine.acts.send_nowait(data)
            await engine.ends(job, {flag}, right=kind != "short")
            await engine.within(job.patience, engine.acts.wait())
            engine.acts.endless = False
            await engine.run(random_job(engine.rng, engine.cfg))
    await engine.quiet()


@cocotb.test()
@cocotb.parametrize(slow=[False, True])
async def bus_errors(dut: Any, slow: bool) -> None:
    """SLVERR somewhere in the region: the job ends with its flag, few reads follow, the next job is right."""
    engine = DecodeBench(dut, "bus errors", slow_memory=slow)
    await engine.start()
    for _ in range(6):
        job = random_job(engine.rng, engine.cfg)
        row = engine.rng.randrange(job.regional_rows)
        start = job.base + row * engine.cfg.row_bytes
        engine.memory.bad = range(start, start + engine.cfg.row_bytes)
        await engine.begin(job)
        engine.send(job)
        hit = engine.is_read(job, row)
        await engine.ends(job, {"bus_error"} if hit else set(), right=not hit)
        engine.memory.bad = range(0)
        await engine.run(random_job(engine.rng, engine.cfg))
    await engine.quiet()


@cocotb.test()
async def outside(dut: Any) -> None:
    """A region that is too small: nothing outside is read, the flag is set, the next job is right."""
    engine = DecodeBench(dut, "outside")
    await engine.start()
    for _ in range(6):
        job = random_job(engine.rng, engine.cfg, least_blocks=2)
        job.limit = job.base + engine.rng.randrange(job.regional_rows) * engine.cfg.row_bytes
        await engine.begin(job)
        engine.send(job)
        hit = any(
            engine.is_read(job, row) for row in range((job.limit - job.base) // engine.cfg.row_bytes, job.regional_rows)
        )
        await engine.ends(job, {"outside"} if hit else set(), right=not hit)
        await engine.run(random_job(engine.rng, engine.cfg))
    await engine.quiet()


@cocotb.test()
async def refused(dut: Any) -> None:
    """Illegal sizes, N and base addresses start nothing."""
    engine = DecodeBench(dut, "refused")
    cfg = engine.cfg
    await engine.start()
    good = random_job(engine.rng, cfg)
    wrong = [
        {"tokens": 0}, {"tokens": cfg.rows + 1}, {"channels": 0}, {"channels": cfg.k_max + 1}, {"outputs": 0},
        {"keep": 0}, {"keep": cfg.m_group + 1}, {"base_low": cfg.row_bytes // 2}, {"base_high": 1},
    ]  # fmt: skip
    for words in wrong:
        await engine.begin(good, **words)
        assert await engine.flags("errors") == {"shape"}, words
        assert "busy" not in await engine.flags("status")
    assert not int(dut.s_axis_acts_tready.value)
    await engine.run(good)
    await engine.quiet()


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def abort(dut: Any, stalled: bool) -> None:
    """A job without its packet, or in the middle of its reads, ends; the next one is right."""
    engine = DecodeBench(dut, "abort", idle=stalled, backpressure=stalled, slow_memory=stalled)
    await engine.start()
    for k in range(8):
        job = random_job(engine.rng, engine.cfg)
        await engine.begin(job)
        if k % 2:
            engine.send(job)
            await engine.cycles(engine.rng.randint(1, 60))
        running = "busy" in await engine.flags("status")
        await engine.command(abort=1)
        await engine.ends(job, None, right=not running)
        assert await engine.flags("errors") <= {"aborted"}
        await engine.within(job.patience, engine.acts.wait())
        await engine.run(random_job(engine.rng, engine.cfg))
    await engine.quiet()


@cocotb.test()
async def busy(dut: Any) -> None:
    """While a job runs, a start is refused and job registers cannot be written."""
    engine = DecodeBench(dut, "busy")
    await engine.start()
    job = random_job(engine.rng, engine.cfg)
    await engine.begin(job)
    await engine.command(start=1)
    for name, register in DECODE.items():
        if register.access in (Access.JOB, Access.READ_ONLY):
            assert not await engine.try_write(register.offset, bytes(4)), f"{name} was written"
    engine.send(job)
    await engine.ends(job, {"not_ready"}, right=True)
    await engine.quiet()


@cocotb.test()
async def registers(dut: Any) -> None:
    """Every address: registers read what was written, everything else answers SLVERR."""
    engine = DecodeBench(dut, "registers", slow_bus=True)
    await engine.start()
    known = {register.offset: register for register in DECODE.values()}
    for offset in range(0, 256, 4):
        _, okay = await engine.try_read(offset)
        assert okay == (offset in known), f"{offset:#x}"
        if offset not in known:
            assert not await engine.try_write(offset, bytes(4))
            continue
        register = known[offset]
        if register.access is Access.JOB:
            mask = sum(((1 << f.width) - 1) << f.low for f in register.fields)
            await engine.write(register.name, 0xFFFF_FFFF)
            assert await engine.read(register.name) == mask
            await engine.write(register.name, 0x1234_5678)
            assert await engine.read(register.name) == 0x1234_5678 & mask
    assert await engine.read("id") == 0x464E4D44


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def reset(dut: Any, stalled: bool) -> None:
    """Reset of engine and memory in mid-job, in mid-burst too; the next job is right."""
    engine = DecodeBench(dut, "reset", idle=stalled, backpressure=stalled, slow_memory=stalled)
    await engine.start()
    for _ in range(10):
        job = random_job(engine.rng, engine.cfg)
        await engine.begin(job)
        engine.send(job)
        await ClockCycles(dut.aclk, engine.rng.randint(1, 80))
        await RisingEdge(dut.aclk)
        await engine.reset(engine.rng.randint(1, 3))
        await engine.run(random_job(engine.rng, engine.cfg))
    await engine.quiet()
