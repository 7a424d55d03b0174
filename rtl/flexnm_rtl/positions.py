"""Where the kept channels are: between a mask and the positions in a compressed block.

All functions build on one fact: the n-th kept value of N out of M lies in channel ``n .. n + M - N``, so a position
never needs more than an (M-N+1):1 multiplexer.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import any_of, gate, prefix_counts
from flexnm_rtl.config import Config, Metadata


def positions_of_channel(cfg: Config, channel: int) -> range:
    """Positions in a compressed block at which channel ``channel`` can be."""
    return range(max(0, channel - (cfg.m_group - cfg.n_keep)), min(channel, cfg.n_keep - 1) + 1)


def one_hot_sources(m: Module, cfg: Config, mask: Signal, name: str) -> list[list[Signal]]:
    """``result[n][d]`` is set when the n-th kept value lies in channel ``n + d``, ``0 <= d <= M - N``.

    ``mask`` has exactly N bits set; with any other mask the result is unspecified.
    """
    before = prefix_counts(m, mask, f"{name}_before")
    result = []
    for n in range(cfg.n_keep):
        hits = []
        for d in range(cfg.window):
            hit = Signal(name=f"{name}_{n}_{n + d}")
            m.d.comb += hit.eq(mask[n + d] & (before[n + d] == n))
            hits.append(hit)
        result.append(hits)
    return result


def offsets_of(m: Module, cfg: Config, metadata: Signal, name: str) -> list[Value]:
    """``channel - position`` of each kept value, ``0 .. M - N``, from the metadata of a block."""
    if cfg.metadata is Metadata.INDEX:
        indices = [metadata.word_select(n, cfg.index_width) for n in range(cfg.n_keep)]
        return [(index - n)[: cfg.offset_width] for n, index in enumerate(indices)]
    hits = one_hot_sources(m, cfg, metadata, name)
    return [any_of([gate(hit, Const(d, cfg.offset_width)) for d, hit in enumerate(row)]) for row in hits]


class OffsetDecoder(wiring.Component):
    """``offsets_of`` as a module: the metadata ``word`` of a block in, N ``offsets`` out, combinational."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        offsets = data.ArrayLayout(unsigned(cfg.offset_width), cfg.n_keep)
        super().__init__({"word": In(cfg.metadata_width), "offsets": Out(offsets)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += Value.cast(self.offsets).eq(Cat(offsets_of(m, self.cfg, self.word, "source")))
        return m


def metadata_of(cfg: Config, mask: Signal, sources: list[list[Signal]]) -> Value:
    """The metadata of a block from its mask and ``one_hot_sources``."""
    if cfg.metadata is Metadata.BITMASK:
        return mask
    return Cat(
        any_of([gate(hit, Const(n + d, cfg.index_width)) for d, hit in enumerate(row)]) for n, row in enumerate(sources)
    )
