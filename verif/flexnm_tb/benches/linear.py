"""cocotb tests of the linear engine: good jobs."""

from __future__ import annotations

from typing import Any

import cocotb
import torch

from flexnm_tb.boundary_stimuli import boundary_blocks
from flexnm_tb.engine_bench import EngineBench
from flexnm_tb.engine_cycles import drain_cycles, unstalled_cycles
from flexnm_tb.engine_jobs import MODES, modes_of
from flexnm_tb.engine_stimuli import random_job, random_pattern, random_shape
from flexnm_tb.requantization_stimuli import with_scales

MOST_CYCLES = 400
BOUNDARY_JOBS = 4


@cocotb.test()
@cocotb.parametrize(idle=[False, True], backpressure=[False, True])
async def jobs(dut: Any, idle: bool, backpressure: bool) -> None:
    """Random shapes in all modes, one job after the other without a reset; 1 x 1 x 1 among them."""
    engine = EngineBench(dut, "jobs", idle=idle, backpressure=backpressure)
    rng, cfg = engine.rng, engine.cfg
    await engine.start()
    modes = list(modes_of(cfg).values())
    queue = [(mode, (1, 1, 1)) for mode in modes]
    queue += [(mode, random_shape(rng, cfg, mode, MOST_CYCLES)) for mode in 3 * modes]
    rng.shuffle(queue)
    for mode, shape in queue:
        await engine.run(random_job(rng, cfg, mode, shape))
    await engine.quiet()


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def largest(dut: Any, stalled: bool) -> None:
    """The largest jobs there are in tokens and channels; in dense mode with the largest sums there can be."""
    engine = EngineBench(dut, "largest", idle=stalled, backpressure=stalled)
    rng, cfg = engine.rng, engine.cfg
    await engine.start()
    low = (-(1 << (cfg.act_width - 1)), -(1 << (cfg.weight_width - 1)))
    for name, tokens, outputs, constants in (
        ("dense", cfg.tokens_max_dense, 1, low),
        ("sparse", cfg.tokens_max, cfg.cols + 1, (low[0], ~low[1])),
        ("requantized", cfg.tokens_max, cfg.cols, None),
        ("methods", cfg.tokens_max, cfg.cols, low),
        ("methods", cfg.tokens_max, cfg.cols, None),
    ):
        shape = (tokens, cfg.k_max, outputs)
        if name in modes_of(cfg):
            await engine.run(random_job(rng, cfg, modes_of(cfg)[name], shape, constants))
    await engine.quiet()


@cocotb.test()
async def counters(dut: Any) -> None:
    """Jobs whose streams never pause take the cycles stated: no bubble between blocks, groups and tiles."""
    engine = EngineBench(dut, "counters")
    rng, cfg = engine.rng, engine.cfg
    await engine.start()
    for mode in MODES.values():
        tokens = cfg.tokens_max_dense if mode.dense else cfg.tokens_max
        shape = (tokens, min(cfg.k_max, 12 * cfg.m_group), 3 * cfg.cols - 1)
        # Streams are as wide as the largest N needs: with a smaller one the array waits for them.
        job = random_job(rng, cfg, mode, shape, pattern=(cfg.n_keep, cfg.m_group) if cfg.flexible else None)
        engine.send(job)
        await engine.begin(job)
        counted = await engine.finish(job)
        stated = unstalled_cycles(
            cfg, *job.shape, dense=mode.dense, compressed=mode.compressed, parameters=mode.parameters, n=job.kept
        )
        assert counted["cycles"] == stated, f"{job.shape}, {mode}: {counted}, {stated} cycles are stated"
        assert not counted["wait_results"]
        # Behind the last block nobody waits for operands any more.
        accounted = sum(counted[name] for name in ("busy_cycles", "wait_acts", "wait_weights"))
        assert accounted <= stated - drain_cycles(cfg, job.shape[0]), f"{job.shape}, {mode}: {counted}"
    await engine.quiet()


@cocotb.test()
async def boundary(dut: Any) -> None:
    """Blocks in which one comparison decides: all of a small pattern, some of a large one."""
    engine = EngineBench(dut, "boundary")
    rng, cfg = engine.rng, engine.cfg
    await engine.start()
    pattern = random_pattern(rng, cfg)
    blocks = list(boundary_blocks(rng, *(pattern or (cfg.n_keep, cfg.m_group)), cfg.act_width))
    rng.shuffle(blocks)
    per_token = min(len(blocks), cfg.k_max // cfg.m_group)
    channels = per_token * cfg.m_group
    tokens = torch.cat(blocks[: len(blocks) // per_token * per_token]).view(-1, channels)
    for group in torch.split(tokens, cfg.tokens_max)[:BOUNDARY_JOBS]:
        shape = (len(group), channels, 2 * cfg.cols)
        await engine.run(random_job(rng, cfg, MODES["sparse"], shape, pattern=pattern, activations=group))
    await engine.quiet()


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def rounding(dut: Any, stalled: bool) -> None:
    """Requantised results of sums and multipliers of all sizes, so that low bits of products decide as well."""
    engine = EngineBench(dut, "rounding", idle=stalled, backpressure=stalled)
    rng, cfg = engine.rng, engine.cfg
    await engine.start()
    for mode in 2 * [MODES["requantized"], MODES["dense_requantized"]]:
        tokens = min(cfg.tokens_max_dense, 2 * cfg.rows)
        shape = (tokens, cfg.m_group, cfg.cols * max(1, 96 // (tokens * cfg.cols)))
        await engine.run(with_scales(rng, random_job(rng, cfg, mode, shape)))
    await engine.quiet()
