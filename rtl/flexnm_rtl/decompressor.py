"""The decompression unit: restores dense blocks from compressed ones."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.arith import any_of, gate, prefix_counts
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.enumerative import RankDecoder
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.positions import positions_of_channel


class Decompressor(wiring.Component):
    """Puts the kept values of a compressed block back into their channels; dropped channels become 0.

    ``i``: stream of ``layouts.compressed``. ``o``: stream of ``layouts.dense_out``.
    Metadata that no compressor emits (a bitmask without exactly N bits, indices not ascending, a rank of C(M, N) or
    more) gives an unspecified block, and nothing after it is affected. Throughput: a block a cycle.
    Latency: ``latency`` cycles (input 1, ``RankDecoder`` with ranks as metadata, output 1).
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.decoder = RankDecoder(cfg) if cfg.metadata is Metadata.ENUMERATIVE else None
        self.latency = 2 + (self.decoder.latency if self.decoder else 0)
        super().__init__(
            {
                "i": In(stream.Signature(layouts.compressed(cfg))),
                "o": Out(stream.Signature(layouts.dense_out(cfg))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.control = control = StageControl(self.latency)
        m.d.comb += [
            control.i_valid.eq(self.i.valid),
            self.i.ready.eq(control.i_ready),
            self.o.valid.eq(control.o_valid),
            control.o_ready.eq(self.o.ready),
        ]
        values = delay(m, control.enable[:-1], Value.cast(self.i.p.block.values), "values")
        metadata = delay(m, control.enable[:1], self.i.p.block.metadata, "metadata")
        if self.decoder:
            m.submodules.decoder = decoder = self.decoder
            m.d.comb += [decoder.word.eq(metadata), decoder.enable.eq(control.enable[1:-1])]
            metadata = decoder.mask
        last = delay(m, control.enable, self.i.p.last, "last")

        kept = [values.word_select(n, cfg.value_width) for n in range(cfg.n_keep)]
        place = self._from_indices if cfg.metadata is Metadata.INDEX else self._from_mask
        restored = delay(m, control.enable[-1:], Cat(place(m, metadata, kept)), "restored")
        m.d.comb += [Value.cast(self.o.p.values).eq(restored), self.o.p.last.eq(last)]
        return m

    def _from_mask(self, m: Module, mask: Signal, kept: list[Value]) -> list[Value]:
        """Channel i takes the value whose position is the number of kept channels below it."""
        cfg = self.cfg
        position = prefix_counts(m, mask, "position")
        return [
            any_of([gate(mask[i] & (position[i] == n), kept[n]) for n in positions_of_channel(cfg, i)])
            for i in range(cfg.m_group)
        ]

    def _from_indices(self, m: Module, indices: Signal, kept: list[Value]) -> list[Value]:
        """Channel i takes the value whose index field names it."""
        cfg = self.cfg
        fields = [indices.word_select(n, cfg.index_width) for n in range(cfg.n_keep)]
        return [
            any_of([gate(fields[n] == i, kept[n]) for n in positions_of_channel(cfg, i)]) for i in range(cfg.m_group)
        ]
