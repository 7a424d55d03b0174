"""cocotb tests of the compression unit."""

from __future__ import annotations

import itertools
from typing import Any

import cocotb
import torch
from flexnm_rtl.config import ScoreFactor, bits_for

from flexnm_tb import context, stalls, words
from flexnm_tb.benches.codec import CodecBench, check_reset, check_stream, check_throughput
from flexnm_tb.boundary_stimuli import boundary_blocks
from flexnm_tb.engine_stimuli import random_pattern
from flexnm_tb.stimuli import random_numbers

FACTORS = 512
"""Channels that have a factor, more than a token of the benches has."""
MORE_PATTERNS = 4
"""Patterns that a stream of a flexible unit goes through after its first one."""


def _codec(dut: Any, **stalled: bool) -> CodecBench:
    ctx = context.load()
    cfg = ctx.cfg
    table = torch.tensor([ctx.rng(f"factor {k}").getrandbits(cfg.factor_width) for k in range(FACTORS)])

    def factors(x: torch.Tensor) -> torch.Tensor | None:
        return None if cfg.score_factor is ScoreFactor.NONE else table[: x.shape[0]]

    codec = CodecBench(
        dut,
        ctx,
        lambda x, rng: words.dense_inputs(x, cfg, rng, factors(x)),
        lambda x: words.compressed_beats(x, cfg, factors(x), codec.pattern),
        **stalled,
    )
    _choose_pattern(dut, codec, f"pattern {stalled}")
    return codec


def _choose_pattern(dut: Any, codec: CodecBench, salt: str) -> None:
    """Of a flexible unit, which has to be empty."""
    cfg = codec.cfg
    codec.pattern = random_pattern(codec.ctx.rng(salt), cfg)
    if codec.pattern is not None:
        n, m = codec.pattern
        dut.pattern.value = cfg.groups.index(m) << bits_for(cfg.m_group + 1) | n


@cocotb.test()
@cocotb.parametrize(idle=[False, True], backpressure=[False, True])
async def stream(dut: Any, idle: bool, backpressure: bool) -> None:
    """Tokens of all kinds against the model; in a flexible unit, one pattern after the other."""
    codec = _codec(dut, idle=idle, backpressure=backpressure)
    await check_stream(codec)
    for i in range(MORE_PATTERNS if codec.cfg.flexible else 0):
        codec.expected.clear()
        codec.sink.clear()
        _choose_pattern(dut, codec, f"pattern {i} {idle} {backpressure}")
        codec.send_mixed(10)
        await codec.finish()


@cocotb.test()
async def throughput(dut: Any) -> None:
    """A word a cycle, and the stated latency."""
    await check_throughput(_codec(dut))


@cocotb.test()
async def bubbles(dut: Any) -> None:
    """While the output waits, beats that came with gaps close up until every stage holds one."""
    codec = _codec(dut)
    await codec.bench.start()
    codec.sink.pauses = itertools.repeat(True)
    codec.source.pauses = itertools.cycle([False, True, True])
    for _ in range(4):
        codec.send(random_numbers(codec.rng, (4 * codec.cfg.m_group,), codec.cfg.act_width))
    for _ in range(6 * codec.ctx.latency):
        await codec.bench.step()
    assert len(codec.source.taken) == codec.ctx.latency
    codec.sink.pauses = stalls.never()
    await codec.finish()


@cocotb.test()
@cocotb.parametrize(backpressure=[False, True])
async def reset(dut: Any, backpressure: bool) -> None:
    """Reset in mid-token."""
    await check_reset(_codec(dut, idle=True, backpressure=backpressure))


@cocotb.test()
async def boundary(dut: Any) -> None:
    """Blocks in which one comparison decides, and every channel at every position that it can have."""
    codec = _codec(dut)
    cfg = codec.cfg
    await codec.bench.start()
    pattern = codec.pattern or (cfg.n_keep, cfg.m_group)
    blocks = list(boundary_blocks(codec.rng, *pattern, cfg.act_width))
    # Blocks of a flexible design's smaller patterns are parts of a beat.
    size = 4 * cfg.m_group // pattern[1]
    for first in range(0, len(blocks), size):
        codec.send(torch.cat(blocks[first : first + size]))
    await codec.finish()
