"""The compression unit: dense blocks in, the N largest of every M channels out."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.block_selection import BlockSelection
from flexnm_rtl.compaction import network_of
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.enumerative import RankEncoder
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.positions import metadata_of, moves_of


class Compressor(wiring.Component):
    """Keeps exactly N of every M channels; the rule is that of ``BlockSelection``.

    ``i``: stream of ``layouts.scored_in``. ``o``: stream of ``layouts.compressed``: kept values in ascending channel
    order, metadata, ``last``. ``pattern``: see ``BlockSelection``; where fewer than N values are kept, zeros fill up.
    Throughput: a block a cycle. Latency: ``latency`` cycles from the transfer at ``i`` to ``valid`` at ``o``
    (selection; with ``short_stages`` 1 for counting; compaction 1, or with ranks as metadata as many as ``RankEncoder``
    has stages).
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.selection = BlockSelection(cfg)
        self.encoder = RankEncoder(cfg) if cfg.metadata is Metadata.ENUMERATIVE else None
        self.early = int(cfg.short_stages)
        self.depth = self.early + (self.encoder.latency if self.encoder else 1)
        self.latency = self.selection.latency + self.depth
        super().__init__(
            {
                "i": In(stream.Signature(layouts.scored_in(cfg))),
                "o": Out(stream.Signature(layouts.compressed(cfg))),
            }
            | layouts.pattern_port(cfg)
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.selection = selection = self.selection
        m.submodules.control = control = StageControl(self.depth)
        wiring.connect(m, wiring.flipped(self.i), selection.i)
        marked = selection.o
        if cfg.flexible:
            m.d.comb += selection.pattern.eq(self.pattern)
        m.d.comb += [
            control.i_valid.eq(marked.valid),
            marked.ready.eq(control.i_ready),
            self.o.valid.eq(control.o_valid),
            control.o_ready.eq(self.o.ready),
        ]
        first, rest = control.enable[: self.early], control.enable[self.early :]
        moves = moves_of(m, cfg, marked.p.mask, "move", first)
        dense = delay(m, first, Value.cast(marked.p["values"]), "dense")
        mask = delay(m, first, marked.p.mask, "mask")
        values = [dense.word_select(i, cfg.value_width) for i in range(cfg.m_group)]
        kept = network_of(cfg).apply(m, values, moves, "kept")
        m.d.comb += self.o.p.last.eq(delay(m, control.enable, marked.p.last, "last"))
        m.d.comb += self.o.p.block["values"].eq(delay(m, rest, Cat(kept), "out_values"))
        if self.encoder:
            m.submodules.encoder = encoder = self.encoder
            m.d.comb += [encoder.mask.eq(mask), encoder.enable.eq(rest)]
            metadata = encoder.word
        else:
            metadata = delay(m, rest, metadata_of(m, cfg, mask, moves), "out_metadata")
        m.d.comb += self.o.p.block.metadata.eq(metadata)
        return m
