"""cocotb tests of the dense splitter."""

from __future__ import annotations

from typing import Any

import cocotb

from flexnm_tb import context, words
from flexnm_tb.benches.codec import CodecBench, check_reset, check_stream, check_throughput


def _codec(dut: Any, **stalled: bool) -> CodecBench:
    ctx = context.load()
    cfg = ctx.cfg
    return CodecBench(
        dut, ctx, lambda x, rng: words.dense_inputs(x, cfg, rng), lambda x: words.dense_beats(x, cfg), **stalled
    )


@cocotb.test()
@cocotb.parametrize(idle=[False, True], backpressure=[False, True])
async def stream(dut: Any, idle: bool, backpressure: bool) -> None:
    """Tokens of all kinds against the model."""
    await check_stream(_codec(dut, idle=idle, backpressure=backpressure))


@cocotb.test()
async def throughput(dut: Any) -> None:
    """A word a cycle, and the stated latency."""
    await check_throughput(_codec(dut), beats_per_input=context.load().cfg.dense_beats)


@cocotb.test()
@cocotb.parametrize(backpressure=[False, True])
async def reset(dut: Any, backpressure: bool) -> None:
    """Reset in mid-token."""
    await check_reset(_codec(dut, idle=True, backpressure=backpressure))
