"""cocotb test of the linear engine: jobs that start as soon as the one before has ended."""

from __future__ import annotations

from typing import Any

import cocotb

from flexnm_tb.engine_bench import EngineBench
from flexnm_tb.engine_jobs import MODES
from flexnm_tb.engine_stimuli import random_job

_TIMES = 4


@cocotb.test()
@cocotb.parametrize(tokens=[1, 2, -1])
async def again(dut: Any, tokens: int) -> None:
    """The same job over and over, started anew with its last result, while rows that fill up its groups still leave.

    tokens: of the job; -1: one less than the rows hold.
    """
    engine = EngineBench(dut, f"again {tokens}")
    cfg = engine.cfg
    await engine.start()
    job = random_job(engine.rng, cfg, MODES["sparse"], (tokens % cfg.rows, cfg.m_group, cfg.cols))
    for _ in range(_TIMES):
        engine.send(job)
    await engine.begin(job)
    for left in reversed(range(_TIMES - 1)):
        got = await engine.packet(job)
        await engine.command(start=1)
        assert got.equal(job.expected), f"{left} jobs before the last one: {got.tolist()}, not {job.expected.tolist()}"
    await engine.finish(job)
    await engine.quiet(4 * cfg.rows)
