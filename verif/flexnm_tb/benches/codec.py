"""Tests for units with one input stream ``i`` and one output stream ``o``: what is common to all of them.

A unit is described by two functions of a token (K,): its input beats, and the beats the model says it answers with.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

from flexnm_tb import stalls
from flexnm_tb.context import Context
from flexnm_tb.coverage import functional
from flexnm_tb.payload import pack, unpack
from flexnm_tb.stimuli import edge_tokens, random_numbers, token_length
from flexnm_tb.streams import Bench, Sink, Source

Beats = list[dict[str, Any]]


class CodecBench:
    """Drives one unit and compares what comes out, word by word."""

    def __init__(
        self,
        dut: Any,
        ctx: Context,
        inputs: Callable[[torch.Tensor, random.Random], Beats],
        outputs: Callable[[torch.Tensor], Beats],
        *,
        idle: bool = False,
        backpressure: bool = False,
    ) -> None:
        self.ctx = ctx
        self.pattern: tuple[int, int] | None = None
        self.stalled = [name for name, paused in (("idle", idle), ("backpressure", backpressure)) if paused]
        self.cfg = ctx.cfg
        self.inputs = inputs
        self.outputs = outputs
        self.rng = ctx.rng(f"data {idle} {backpressure}")
        self.in_layout, self.out_layout = ctx.layout("i"), ctx.layout("o")
        self.source = Source(dut, "i", self.in_layout["width"], stalls.choose(idle, ctx.rng("idle")), ctx.seed)
        self.sink = Sink(dut, "o", stalls.choose(backpressure, ctx.rng("backpressure")))
        self.bench = Bench(dut, [self.source, self.sink])
        self.expected: list[int] = []

    def send(self, x: torch.Tensor) -> None:
        """Queue a token (K,) and the words expected for it."""
        functional.begin(self.ctx, self.stalled, x, self.pattern)
        self.source.queue.extend(pack(self.in_layout, beat) for beat in self.inputs(x, self.rng))
        self.expected.extend(pack(self.out_layout, beat) for beat in self.outputs(x))

    def send_mixed(self, tokens: int) -> None:
        """Queue the edge cases, whole and with a partial last block, and random tokens."""
        for k in (self.cfg.m_group, 2 * self.cfg.m_group - 1, self.cfg.m_group + 1):
            for x in edge_tokens(self.cfg, k):
                self.send(x)
        for _ in range(tokens):
            self.send(random_numbers(self.rng, (token_length(self.rng, self.cfg),), self.cfg.act_width))

    async def finish(self) -> None:
        """Run until all is answered, and compare."""
        await self.bench.run(self.sink, len(self.expected), timeout=200 + 20 * len(self.expected))
        for i, (got, want) in enumerate(zip(self.sink.words, self.expected, strict=True)):
            assert got == want, (
                f"word {i}: got {unpack(self.out_layout, got)}, expected {unpack(self.out_layout, want)}"
            )
        functional.end()


async def check_stream(codec: CodecBench, tokens: int = 60) -> None:
    """Mixed tokens under the stalls of the bench."""
    await codec.bench.start()
    codec.send_mixed(tokens)
    await codec.finish()


async def check_throughput(codec: CodecBench, *, beats_per_input: int = 1) -> None:
    """Without stalls: a word out in every cycle, the first one ``latency`` cycles after its input."""
    await codec.bench.start()
    for _ in range(20):
        codec.send(random_numbers(codec.rng, (4 * codec.cfg.m_group,), codec.cfg.act_width))
    await codec.finish()
    cycles = codec.sink.cycles
    assert cycles[0] - codec.source.taken[0] == codec.ctx.latency
    assert cycles == list(range(cycles[0], cycles[0] + len(codec.expected)))
    assert len(codec.expected) == beats_per_input * len(codec.source.taken)


async def check_reset(codec: CodecBench, rounds: int = 12) -> None:
    """Reset in mid-token, at a random cycle and under random stalls; the next tokens are right."""
    await codec.bench.start()
    for _ in range(rounds):
        codec.send(random_numbers(codec.rng, (8 * codec.cfg.m_group,), codec.cfg.act_width))
        for _ in range(codec.rng.randint(1, 12)):
            await codec.bench.step()
        functional.end(["reset"] if len(codec.sink.words) < len(codec.expected) else [])
        await codec.bench.reset(codec.rng.randint(1, 3))
        codec.expected.clear()
        codec.send(random_numbers(codec.rng, (3 * codec.cfg.m_group,), codec.cfg.act_width))
        await codec.finish()
        codec.expected.clear()
        codec.sink.clear()
