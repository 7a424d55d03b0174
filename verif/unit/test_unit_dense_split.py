"""DenseSplitter: every channel once, whatever N:M, keep bits and back-pressure."""

from __future__ import annotations

import random

import pytest
from flexnm_model.reference import pack as pack_metadata
from flexnm_model.reference import unpack as unpack_metadata
from flexnm_rtl import layouts
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.dense_split import DenseSplitter, beat_metadata
from unit_tools import Streams, run_streams

PATTERNS = [(8, 16), (3, 5), (7, 7), (2, 7), (1, 4), (5, 16), (31, 32)]
Item = tuple[list[int], int, int]


def random_items(cfg: Config, count: int) -> list[Item]:
    """Values, number of real channels, last. No value is 0, so that a channel sent twice would show."""
    rng = random.Random(cfg.m_group)
    numbers = [v for v in range(-(1 << (cfg.act_width - 1)), 1 << (cfg.act_width - 1)) if v]
    return [
        ([rng.choice(numbers) for _ in range(cfg.m_group)], rng.choice([cfg.m_group, rng.randint(1, cfg.m_group)]),
         int(rng.random() < 0.3))
        for _ in range(count)
    ]  # fmt: skip


def words_of(cfg: Config, items: list[Item]) -> list[int]:
    layout = layouts.dense_in(cfg)
    return [
        layout.const({"values": values, "keep": (1 << real) - 1, "last": last}).as_bits()
        for values, real, last in items
    ]


@pytest.mark.parametrize("metadata", list(Metadata))
@pytest.mark.parametrize("n, m", PATTERNS)
@pytest.mark.parametrize("offer, take", [(1.0, 1.0), (0.6, 0.4)])
def test_beats_restore_the_block(n: int, m: int, metadata: Metadata, offer: float, take: float) -> None:
    cfg = Config(n_keep=n, m_group=m, lanes=n, metadata=metadata)
    items = random_items(cfg, 25)
    dut = DenseSplitter(cfg)
    beats = len(items) * cfg.dense_beats
    flow = run_streams(dut, Streams.of(dut), words_of(cfg, items), beats, offer=offer, take=take, seed=n)
    received = [layouts.dense_beat(cfg).from_bits(word) for word in flow.received]
    for k, (values, real, last) in enumerate(items):
        restored: list[list[int]] = [[] for _ in range(m)]
        group = received[k * cfg.dense_beats : (k + 1) * cfg.dense_beats]
        for b, beat in enumerate(group):
            final = b == cfg.dense_beats - 1
            assert beat.hold == (not final)
            assert beat.last == (last and final)
            mask = unpack_metadata(beat.block.metadata, n, m, metadata)
            for position, channel in enumerate(i for i in range(m) if mask[i]):
                restored[channel].append(beat.block["values"][position])
        # Sent once; sent again only as 0, which adds nothing to a sum.
        assert [sum(seen) for seen in restored] == [v if i < real else 0 for i, v in enumerate(values)]
        assert all(seen and not any(seen[1:]) for seen in restored)


@pytest.mark.parametrize("n, m", PATTERNS)
def test_a_beat_a_cycle_and_the_latency(n: int, m: int) -> None:
    cfg = Config(n_keep=n, m_group=m, lanes=n)
    items = random_items(cfg, 10)
    dut = DenseSplitter(cfg)
    flow = run_streams(dut, Streams.of(dut), words_of(cfg, items), len(items) * cfg.dense_beats)
    assert flow.taken == list(range(dut.latency, dut.latency + len(flow.taken)))
    assert flow.sent[0] == 0
    assert [b - a for a, b in zip(flow.sent[1:], flow.sent[2:], strict=False)] == [cfg.dense_beats] * 8


@pytest.mark.parametrize("metadata", list(Metadata))
def test_beat_metadata_is_what_the_reference_packs(metadata: Metadata) -> None:
    cfg = Config(n_keep=3, m_group=8, lanes=3, metadata=metadata)
    channels = [range(3), range(3, 6), range(5, 8)]
    expected = [pack_metadata([i in beat for i in range(8)], metadata) for beat in channels]
    assert [beat_metadata(cfg, b) for b in range(cfg.dense_beats)] == expected
