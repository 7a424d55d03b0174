"""Where the kept channels are: between a mask and the positions in a compressed block.

All functions build on one fact: the n-th kept value of N out of M lies in channel ``n .. n + M - N``, so a position
never needs more than an (M-N+1):1 multiplexer.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import any_of, gate, prefix_counts
from flexnm_rtl.compaction import network_of
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.operands import block_route, has_network
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


def moves_of(m: Module, cfg: Config, mask: Signal, name: str, enable: Value = NO_STAGE) -> Value:
    """The ``moves`` of the block's ``CompactionNetwork``.

    enable: as in ``one_hot_sources``.
    """
    network = network_of(cfg)
    if len(network.stages) == 1:  # its moves are the sources, which can be counted from both ends of the block
        return Cat(Cat(hits) for hits in one_hot_sources(m, cfg, mask, name, enable))
    counts = prefix_counts(m, ~mask, f"{name}_below")[:-1]
    distances = [delay(m, enable, count, f"{name}_distance_{i}") for i, count in enumerate(counts)]
    return network.moves(m, delay(m, enable, mask, f"{name}_mask"), distances, name)


class RouteDecoder(wiring.Component):
    """The metadata ``word`` of a block in, its ``route`` to the weights out, combinational.

    ``route``: ``operands.block_route``: moves of a network where elements have one, else offsets.
    ``pipelined``: ``STAGES`` enables later; ``enable[0]`` loads the word as it is, ``enable[1]`` counts.
    """

    STAGES = 2

    def __init__(self, cfg: Config, *, pipelined: bool = False) -> None:
        self.cfg = cfg
        self.latency = self.STAGES if pipelined else 0
        super().__init__(
            {"word": In(cfg.metadata_width), "route": Out(block_route(cfg))}
            | ({"enable": In(self.latency)} if pipelined else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        enable = self.enable if self.latency else NO_STAGE
        word = delay(m, enable[:1], self.word, "word")
        m.d.comb += Value.cast(self.route).eq(self._route(m, word, enable[1:]))
        return m

    def _route(self, m: Module, word: Signal, enable: Value) -> Value:
        cfg = self.cfg
        if not has_network(cfg):
            return Cat(offsets_of(m, cfg, word, "source", enable))
        if cfg.metadata is Metadata.INDEX:
            return network_of(cfg).moves_of_distances(m, offsets_of(m, cfg, word, "source", enable), "move")
        return moves_of(m, cfg, word, "move", enable)


def metadata_of(m: Module, cfg: Config, mask: Value, moves: Value) -> Value:
    """The metadata of a block from its mask and the ``moves`` of its ``CompactionNetwork``."""
    if cfg.metadata is Metadata.BITMASK:
        return mask
    channels = [Const(channel, cfg.index_width) for channel in range(cfg.m_group)]
    return Cat(network_of(cfg).apply(m, channels, moves, "index"))
