"""BlockSelection against the reference: masks, values, factors, padding, N as a port, stalls, latency."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_model.reference import select
from flexnm_rtl.block_selection import BlockSelection
from flexnm_rtl.config import Config, ScoreFactor, Selector
from unit_tools import Streams, pack, run_streams, simulate, unpack

CONFIGS = {
    "2:4": Config(n_keep=2, m_group=4, lanes=1),
    "3:5 of 6 bits": Config(n_keep=3, m_group=5, lanes=1, act_width=6),
    "8:16": Config(),
    "8:16 radix": Config(selector=Selector.RADIX),
    "16:32": Config(n_keep=16, m_group=32, lanes=1),
    "1:2 of 16 bits": Config(n_keep=1, m_group=2, lanes=1, act_width=16),
    "4:4": Config(n_keep=4, m_group=4, lanes=1, act_width=4),
    "2:4 multiply": Config(n_keep=2, m_group=4, lanes=1, score_factor="multiply"),
    "3:5 multiply, 16 bits each": Config(
        n_keep=3, m_group=5, lanes=1, act_width=16, score_factor="multiply", factor_width=16
    ),
    "8:16 shift": Config(score_factor="shift", static_shift=True, fraction_bits=2),
    "2:4 shift, 4 bits": Config(n_keep=2, m_group=4, lanes=1, act_width=5, score_factor="shift", factor_width=4),
    "8:16 multiply, radix": Config(selector=Selector.RADIX, score_factor="multiply", factor_width=3),
}
Beat = tuple[list[int], int, int, list[int]]
"""Channels, how many of them are real, last, the channels' factors."""


def beats(cfg: Config, count: int, seed: int) -> list[Beat]:
    """From many ties to none; the most negative number now and then; the rest of a block after its real channels.

    Factors: any, 0, the largest, a few small ones.
    """
    rng = random.Random(seed)
    half, top = 1 << (cfg.value_width - 1), (1 << cfg.factor_width) - 1
    found = []
    for k in range(count):
        limit = (1, 2, half, half)[k % 4]
        values = [rng.randint(-limit, limit - 1) if rng.random() < 0.9 else -half for _ in range(cfg.m_group)]
        real = cfg.m_group if k % 3 else rng.randint(0, cfg.m_group)
        low, high = ((0, top), (0, 0), (top, top), (0, min(2, top)), (0, top))[k % 5]
        factors = [rng.randint(low, high) for _ in range(cfg.m_group)]
        found.append((values, real, rng.randint(0, 1), factors))
    return found


def word(cfg: Config, beat: Beat) -> int:
    values, real, last, factors = beat
    size = cfg.m_group * cfg.value_width
    low = pack(values, cfg.value_width) | ((1 << real) - 1) << size | last << (size + cfg.m_group)
    return low | pack(factors, cfg.factor_width) << (size + cfg.m_group + 1)


def expected(cfg: Config, beat: Beat, n: int) -> tuple[list[int], list[bool], int]:
    """Padding counts as zeros, and its values leave as zeros."""
    values, real, last, factors = beat
    padded = [v if i < real else 0 for i, v in enumerate(values)]
    if cfg.score_factor is ScoreFactor.NONE:
        return padded, select(padded, n), last
    multipliers = [1 << f if cfg.score_factor is ScoreFactor.SHIFT else f for f in factors]
    return padded, select([abs(v) * f for v, f in zip(padded, multipliers, strict=True)], n), last


def got(cfg: Config, payload: int) -> tuple[list[int], list[bool], int]:
    size = cfg.m_group * cfg.value_width
    values = unpack(payload, cfg.value_width, cfg.m_group)
    mask = [bool(bit) for bit in unpack(payload >> size, 1, cfg.m_group, signed=False)]
    return values, mask, payload >> (size + cfg.m_group)


@pytest.mark.parametrize("offer, take", [(1.0, 1.0), (0.5, 0.5), (0.9, 0.3), (0.3, 0.9)])
@pytest.mark.parametrize("name", CONFIGS)
def test_marks_what_the_reference_keeps(name: str, offer: float, take: float) -> None:
    cfg = CONFIGS[name]
    dut = BlockSelection(cfg)
    sent = beats(cfg, 80, seed=cfg.m_group)
    flow = run_streams(
        dut, Streams.of(dut), [word(cfg, beat) for beat in sent], len(sent), offer=offer, take=take, seed=3
    )
    assert [got(cfg, payload) for payload in flow.received] == [expected(cfg, beat, cfg.n_keep) for beat in sent]


@pytest.mark.parametrize("runtime_n", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_latency_and_a_block_a_cycle(name: str, runtime_n: bool) -> None:
    cfg = CONFIGS[name]
    dut = BlockSelection(cfg, runtime_n=runtime_n)
    items = [word(cfg, beat) for beat in beats(cfg, 40, seed=1)]
    flow = run_streams(dut, Streams.of(dut), items, 40, ports={"n": 1} if runtime_n else None)
    assert flow.sent == list(range(flow.sent[0], flow.sent[0] + 40))
    assert flow.taken == [cycle + dut.latency for cycle in flow.sent]
    assert dut.latency == dut.selector.latency + (1 if cfg.score_factor is ScoreFactor.NONE else 2)


@pytest.mark.parametrize("name", ["3:5 of 6 bits", "8:16", "8:16 radix", "2:4 multiply"])
def test_n_as_a_port_under_stalls(name: str) -> None:
    cfg = CONFIGS[name]
    for n in range(1, cfg.m_group + 1):
        dut = BlockSelection(cfg, runtime_n=True)
        sent = beats(cfg, 12, seed=n)
        items = [word(cfg, beat) for beat in sent]
        flow = run_streams(dut, Streams.of(dut), items, 12, offer=0.7, take=0.6, seed=n, ports={"n": n})
        assert [got(cfg, payload) for payload in flow.received] == [expected(cfg, beat, n) for beat in sent]


@pytest.mark.parametrize("name", ["2:4", "16:32"])
def test_n_changes_between_runs(name: str) -> None:
    """The pipeline runs empty, N changes, and nothing else happens in between."""
    cfg = CONFIGS[name]
    dut = BlockSelection(cfg, runtime_n=True)
    order: Sequence[int] = [*range(1, cfg.m_group + 1), 1, cfg.m_group, 2]

    async def bench(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        for n in order:
            ctx.set(dut.n, n)
            sent = beats(cfg, 6, seed=n)
            received = []
            for cycle in range(len(sent) + dut.latency):
                ctx.set(dut.i.valid, cycle < len(sent))
                if cycle < len(sent):
                    ctx.set(Value.cast(dut.i.p), word(cfg, sent[cycle]))
                if ctx.get(dut.o.valid):
                    received.append(got(cfg, ctx.get(Value.cast(dut.o.p))))
                await ctx.tick()
            assert received == [expected(cfg, beat, n) for beat in sent], f"N={n}"

    simulate(dut, bench)
