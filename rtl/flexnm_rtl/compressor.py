"""The compression unit: dense blocks in, the N largest of every M channels out."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.arith import any_of, gate
from flexnm_rtl.block_selection import BlockSelection
from flexnm_rtl.config import Config
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.positions import metadata_of, one_hot_sources


class Compressor(wiring.Component):
    """Keeps exactly N of every M channels; the rule is that of ``BlockSelection``.

    ``i``: stream of ``layouts.scored_in``. ``o``: stream of ``layouts.compressed``: kept values in ascending channel
    order, metadata, ``last``. Throughput: a block a cycle. Latency: ``latency`` cycles from the transfer at ``i`` to
    ``valid`` at ``o`` (selection, compaction 1).
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.selection = BlockSelection(cfg)
        self.latency = self.selection.latency + 1
        super().__init__(
            {
                "i": In(stream.Signature(layouts.scored_in(cfg))),
                "o": Out(stream.Signature(layouts.compressed(cfg))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.selection = selection = self.selection
        m.submodules.control = control = StageControl(1)
        wiring.connect(m, wiring.flipped(self.i), selection.i)
        marked = selection.o
        m.d.comb += [
            control.i_valid.eq(marked.valid),
            marked.ready.eq(control.i_ready),
            self.o.valid.eq(control.o_valid),
            control.o_ready.eq(self.o.ready),
        ]
        sources = one_hot_sources(m, cfg, marked.p.mask, "source")
        dense = Value.cast(marked.p["values"])
        values = [dense.word_select(i, cfg.value_width) for i in range(cfg.m_group)]
        kept = Cat(any_of([gate(hit, values[n + d]) for d, hit in enumerate(row)]) for n, row in enumerate(sources))
        m.d.comb += self.o.p.last.eq(delay(m, control.enable, marked.p.last, "last"))
        for field, value in (("values", kept), ("metadata", metadata_of(cfg, marked.p.mask, sources))):
            register = delay(m, control.enable, value, f"out_{field}")
            m.d.comb += self.o.p.block[field].eq(register)
        return m
