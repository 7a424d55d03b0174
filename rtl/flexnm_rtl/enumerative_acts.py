"""Activations of the array whose metadata are ranks, with bitmasks in their place."""

from __future__ import annotations

from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.config import Config
from flexnm_rtl.enumerative import RankDecoder, decoder_stages, unranked
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.sharing import add_shared


class ActsDecoder(wiring.Component):
    """``i``: stream of ``layouts.array_acts``. ``o``: the same of ``unranked(cfg)``, ``latency`` cycles later.

    A beat a cycle. As many beats as there are stages wait inside while ``o`` is not taken.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.latency = len(decoder_stages(cfg))
        super().__init__(
            {
                "i": In(stream.Signature(layouts.array_acts(cfg))),
                "o": Out(stream.Signature(layouts.array_acts(unranked(cfg)))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.control = control = StageControl(self.latency)
        m.d.comb += [
            control.i_valid.eq(self.i.valid),
            self.i.ready.eq(control.i_ready),
            self.o.valid.eq(control.o_valid),
            control.o_ready.eq(self.o.ready),
        ]
        for r in range(self.cfg.rows):
            decoder = add_shared(m, platform, "rank_decoder", f"rank_decoder_{r}", lambda: RankDecoder(self.cfg))
            ranked, masked = self.i.p.blocks[r], self.o.p.blocks[r]
            values = delay(m, control.enable, Value.cast(ranked["values"]), f"values_{r}")
            m.d.comb += [
                decoder.word.eq(ranked.metadata),
                decoder.enable.eq(control.enable),
                masked.metadata.eq(decoder.mask),
                Value.cast(masked["values"]).eq(values),
            ]
        for name in ("hold", "last"):
            m.d.comb += self.o.p[name].eq(delay(m, control.enable, self.i.p[name], name))
        return m
