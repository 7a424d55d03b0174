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
from flexnm_rtl.operands import offset_bits, one_hot_offsets


def positions_of_channel(cfg: Config, channel: int) -> range:
    """Positions in a compressed block at which channel ``channel`` can be."""
    return range(max(0, channel - cfg.window + 1), min(channel, cfg.n_keep - 1) + 1)


def one_hot_sources(m: Module, cfg: Config, mask: Signal, name: str) -> list[list[Signal]]:
    """``result[n][d]`` is set when the n-th kept value lies in channel ``n + d``, ``0 <= d <= M - N``.

    ``mask`` has exactly N bits set; with any other mask the result is unspecified. In a flexible unit it may have
    fewer (``d`` then goes up to the last channel), and nothing is set for values that there are not.
    """
    before = prefix_counts(m, mask, f"{name}_before")
    result = []
    for n in range(cfg.n_keep):
        hits = []
        for d in range(min(cfg.window, cfg.m_group - n)):
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
    """The metadata ``word`` of a block in, N ``offsets`` out, combinational.

    As numbers, or, with ``one_hot_offsets``, bit d of an offset set when it is d; none in a flexible unit where there
    is no value.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        offsets = data.ArrayLayout(unsigned(offset_bits(cfg)), cfg.n_keep)
        super().__init__({"word": In(cfg.metadata_width), "offsets": Out(offsets)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += Value.cast(self.offsets).eq(Cat(self._offsets(m)))
        return m

    def _offsets(self, m: Module) -> list[Value]:
        if not one_hot_offsets(self.cfg):
            return offsets_of(m, self.cfg, self.word, "source")
        if self.cfg.metadata is Metadata.INDEX:
            numbers = offsets_of(m, self.cfg, self.word, "source")
            return [Cat(number == d for d in range(self.cfg.window)) for number in numbers]
        hits = one_hot_sources(m, self.cfg, self.word, "source")
        return [Cat(*row, Const(0, self.cfg.window - len(row))) for row in hits]


def metadata_of(cfg: Config, mask: Signal, sources: list[list[Signal]]) -> Value:
    """The metadata of a block from its mask and ``one_hot_sources``."""
    if cfg.metadata is Metadata.BITMASK:
        return mask
    return Cat(
        any_of([gate(hit, Const(n + d, cfg.index_width)) for d, hit in enumerate(row)]) for n, row in enumerate(sources)
    )
