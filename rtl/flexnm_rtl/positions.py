"""Where the kept channels are: between a mask and the positions in a compressed block.

All functions build on one fact: the n-th kept value of N out of M lies in channel ``n .. n + M - N``, so a position
never needs more than an (M-N+1):1 multiplexer.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import any_of, gate, prefix_counts
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.operands import array_offsets, one_hot_offsets
from flexnm_rtl.pipeline import delay

NO_STAGE = Const(0, 0)


def positions_of_channel(cfg: Config, channel: int) -> range:
    """Positions in a compressed block at which channel ``channel`` can be."""
    return range(max(0, channel - cfg.window + 1), min(channel, cfg.n_keep - 1) + 1)


def one_hot_sources(m: Module, cfg: Config, mask: Signal, name: str, enable: Value = NO_STAGE) -> list[list[Signal]]:
    """``result[n][d]`` is set when the n-th kept value lies in channel ``n + d``, ``0 <= d <= M - N``.

    ``mask`` has exactly N bits set; with any other mask the result is unspecified. In a flexible unit it may have
    fewer (``d`` then goes up to the last channel), and nothing is set for values that there are not.
    enable: loads a register stage in the middle, if it has a bit: the result then comes one enable later.
    """
    # Of N set bits, those before a channel need not be counted where those from it on are known.
    whole = cfg.m_group if cfg.flexible or not len(enable) else (cfg.m_group + 1) // 2
    before = prefix_counts(m, mask[:whole], f"{name}_before")[:whole]
    beyond = prefix_counts(m, mask[whole:][::-1], f"{name}_beyond")[:0:-1] if whole < cfg.m_group else []
    counts = [delay(m, enable, count, f"{name}_count_{i}") for i, count in enumerate([*before, *beyond])]
    mask = delay(m, enable, mask, f"{name}_mask")
    result = []
    for n in range(cfg.n_keep):
        hits = []
        for d in range(min(cfg.window, cfg.m_group - n)):
            hit = Signal(name=f"{name}_{n}_{n + d}")
            expected = n if n + d < whole else cfg.n_keep - n
            m.d.comb += hit.eq(mask[n + d] & (counts[n + d] == expected))
            hits.append(hit)
        result.append(hits)
    return result


def offsets_of(m: Module, cfg: Config, metadata: Signal, name: str, enable: Value = NO_STAGE) -> list[Value]:
    """``channel - position`` of each kept value, ``0 .. M - N``, from the metadata of a block.

    enable: as in ``one_hot_sources``.
    """
    if cfg.metadata is Metadata.INDEX:
        metadata = delay(m, enable, metadata, f"{name}_metadata")
        indices = [metadata.word_select(n, cfg.index_width) for n in range(cfg.n_keep)]
        return [(index - n)[: cfg.offset_width] for n, index in enumerate(indices)]
    hits = one_hot_sources(m, cfg, metadata, name, enable)
    return [any_of([gate(hit, Const(d, cfg.offset_width)) for d, hit in enumerate(row)]) for row in hits]


def offset_latency(cfg: Config) -> int:
    """Stages of a pipelined ``OffsetDecoder``: the word, counts, and with ``short_stages`` the offsets."""
    return 3 if cfg.short_stages else 2


class OffsetDecoder(wiring.Component):
    """The metadata ``word`` of a block in, N ``offsets`` out, combinational.

    As numbers, or, with ``one_hot_offsets``, bit d of an offset set when it is d; none in a flexible unit where there
    is no value.
    ``pipelined``: ``latency`` enables later; ``enable[k]`` loads stage k, the first of which takes the word as it is.
    """

    def __init__(self, cfg: Config, *, pipelined: bool = False) -> None:
        self.cfg = cfg
        self.latency = offset_latency(cfg) if pipelined else 0
        super().__init__(
            {"word": In(cfg.metadata_width), "offsets": Out(array_offsets(cfg))}
            | ({"enable": In(self.latency)} if pipelined else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        enable = self.enable if self.latency else NO_STAGE
        word = delay(m, enable[:1], self.word, "word")
        offsets = Cat(self._offsets(m, word, enable[1:2]))
        m.d.comb += Value.cast(self.offsets).eq(delay(m, enable[2:], offsets, "offsets"))
        return m

    def _offsets(self, m: Module, word: Signal, enable: Value) -> list[Value]:
        if not one_hot_offsets(self.cfg):
            return offsets_of(m, self.cfg, word, "source", enable)
        if self.cfg.metadata is Metadata.INDEX:
            numbers = offsets_of(m, self.cfg, word, "source", enable)
            return [Cat(number == d for d in range(self.cfg.window)) for number in numbers]
        hits = one_hot_sources(m, self.cfg, word, "source", enable)
        return [Cat(*row, Const(0, self.cfg.window - len(row))) for row in hits]


def metadata_of(cfg: Config, mask: Signal, sources: list[list[Signal]]) -> Value:
    """The metadata of a block from its mask and ``one_hot_sources``."""
    if cfg.metadata is Metadata.BITMASK:
        return mask
    return Cat(
        any_of([gate(hit, Const(n + d, cfg.index_width)) for d, hit in enumerate(row)]) for n, row in enumerate(sources)
    )
