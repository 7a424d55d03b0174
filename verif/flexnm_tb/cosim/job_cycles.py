"""Cycles of one job on the simulated engine, its results compared with the software model."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from flexnm_model.driver import DeviceError
from flexnm_rtl.config import ceil_div
from flexnm_rtl.registers import BY_NAME

from flexnm_tb.cosim.engine import SimulatedEngine
from flexnm_tb.engine_cycles import drain_cycles, fill_cycles, ideal_cycles
from flexnm_tb.engine_jobs import Mode
from flexnm_tb.engine_stimuli import random_job


@dataclass(frozen=True)
class JobCycles:
    """Cycles of a job of T, K, O. ``cycles``: from its first beats on offer to its last result.

    ideal: in which the array multiplies. fill, drain: what ``engine_cycles`` states for before and after that.
    """

    tokens: int
    channels: int
    outputs: int
    cycles: int
    ideal: int
    fill: int
    drain: int

    @property
    def stalls(self) -> int:
        """Cycles lost in between."""
        return self.cycles - self.ideal - self.fill - self.drain

    @property
    def ratio(self) -> float:
        """Cycles over ideal cycles."""
        return self.cycles / self.ideal


def job_cycles(engine: SimulatedEngine, tokens: int, channels: int, outputs: int, *, seed: int = 1) -> JobCycles:
    """Run a sparse job of random numbers whose streams never pause.

    Raises DeviceError when a result differs from the model's or an error flag is set.
    """
    cfg = engine.cfg
    job = random_job(random.Random(seed), cfg, Mode(), (tokens, channels, outputs))
    for name, word in job.registers.items():
        engine.write(BY_NAME[name].offset, word)
    engine.write(BY_NAME["errors"].offset, 0xFFFF_FFFF)
    engine.write(BY_NAME["control"].offset, BY_NAME["control"].encode(start=1))
    size = tokens * ceil_div(outputs, cfg.cols) * cfg.cols * cfg.result_width // 8
    outcome = engine.stream(job.acts, job.weights, size)
    if not torch.equal(job.unpack(outcome.results), job.expected):
        raise DeviceError(f"T={tokens} K={channels} O={outputs}: results differ from the model's")
    if engine.read(BY_NAME["errors"].offset):
        raise DeviceError(f"T={tokens} K={channels} O={outputs}: an error flag is set")
    return JobCycles(
        tokens,
        channels,
        outputs,
        outcome.cycles,
        ideal_cycles(cfg, tokens, channels, outputs),
        fill_cycles(cfg),
        drain_cycles(cfg, tokens),
    )
