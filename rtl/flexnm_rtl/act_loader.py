"""Activations of a job: from the stream, through compression, into the engine's activation memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.dense_split import DenseSplitter
from flexnm_rtl.engine_layouts import act_beat
from flexnm_rtl.layouts import block
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.packet_guard import PacketGuard
from flexnm_rtl.sharing import add_shared


def act_depth(cfg: Config) -> int:
    """Entries of the activation memory; an entry holds one compressed block for each row."""
    groups = -(-cfg.tokens_max // cfg.rows)
    return groups * cfg.blocks(cfg.k_max)


class ActLoader(wiring.Component):
    """Takes the activation packet of a job and writes it as compressed blocks, group by group of ``rows`` tokens.

    ``i``: stream of ``engine_layouts.act_beat`` and ``last``, in the order tokens inside a block, blocks inside a
    group, groups. ``tokens``, ``channels``, ``dense``, ``compressed``: the job, stable from ``start`` on. Channels
    beyond ``channels`` count as padding. Writes: ``bank`` (tokens of a beat), ``addr``, ``data``; ``filled``: entries
    that are complete. Takes a beat a cycle, in dense mode one in ``dense_beats``. ``short``, ``long``, ``abort``: see
    ``PacketGuard``.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.chunks = cfg.rows // cfg.act_ports
        self.depth = act_depth(cfg)
        self.guard = PacketGuard(act_beat(cfg))
        super().__init__(
            {
                "i": In(self.guard.i.signature.flip()),
                "start": In(1),
                "abort": In(1),
                "tokens": In(range(cfg.tokens_max + 1)),
                "channels": In(range(cfg.k_max + 1)),
                "dense": In(1),
                "compressed": In(1),
                "write": Out(1),
                "bank": Out(bits_for(self.chunks)),
                "addr": Out(bits_for(self.depth)),
                "data": Out(cfg.act_ports * block(cfg).size),
                "filled": Out(range(self.depth + 1)),
                "short": Out(1),
                "long": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.guard = guard = self.guard
        m.submodules.walk = walk = LoopNest(
            Loop("chunk", self.chunks, 1), Loop("k", cfg.k_max, cfg.m_group), Loop("t", cfg.tokens_max, cfg.rows)
        )
        wiring.connect(m, wiring.flipped(self.i), guard.i)
        m.d.comb += [
            guard.start.eq(self.start),
            guard.abort.eq(self.abort),
            guard.final.eq(walk.final),
            self.short.eq(guard.short),
            self.long.eq(guard.long),
            walk.start.eq(self.start),
            walk.advance.eq(guard.o.valid & guard.o.ready),
            walk.chunk_limit.eq(self.chunks),
            walk.k_limit.eq(self.channels),
            walk.t_limit.eq(self.tokens),
        ]
        keep = Signal(cfg.m_group)
        m.d.comb += keep.eq(Cat(walk.k_left > i for i in range(cfg.m_group)))
        blocks, valid, hold = self._compress(m, platform, guard.o, keep)
        m.d.comb += [self.write.eq(valid), self.data.eq(Cat(blocks))]
        self._place(m, hold)
        return m

    def _compress(
        self, m: Module, platform: object, o: stream.Interface, keep: Signal
    ) -> tuple[list[Value], Value, Value]:
        """Blocks of all slots in the job's mode, whether they are valid, and whether a dense block goes on."""
        blocks: list[Value] = []
        valid: Value = Value.cast(0)
        hold: Value = Value.cast(0)
        for port in range(self.cfg.act_ports):
            slot = o.p[port]
            compressor = add_shared(m, platform, "compressor", f"compressor_{port}", lambda: Compressor(self.cfg))
            splitter = add_shared(m, platform, "splitter", f"splitter_{port}", lambda: DenseSplitter(self.cfg))
            sparse = ~self.dense & ~self.compressed
            for unit, chosen in ((compressor, sparse), (splitter, self.dense)):
                self._feed(m, unit, slot.dense, keep, o.valid & chosen)
            packed = Value.cast(slot.compressed)
            chosen_block = Mux(self.compressed, packed, Value.cast(compressor.o.p.block))
            blocks.append(Mux(self.dense, Value.cast(splitter.o.p.block), chosen_block))
            if port == 0:
                m.d.comb += o.ready.eq(Mux(self.dense, splitter.i.ready, Mux(self.compressed, 1, compressor.i.ready)))
                valid = Mux(self.dense, splitter.o.valid, Mux(self.compressed, o.valid, compressor.o.valid))
                hold = self.dense & splitter.o.p.hold
        return blocks, valid, hold

    def _feed(self, m: Module, unit: Any, values: Any, keep: Signal, valid: Value) -> None:
        m.d.comb += [
            Value.cast(unit.i.p["values"]).eq(Value.cast(values)),
            unit.i.p.keep.eq(keep),
            unit.i.valid.eq(valid),
            unit.o.ready.eq(1),
        ]

    def _place(self, m: Module, hold: Value) -> None:
        """Bank and address of every write. In dense mode a bank takes all beats of a block before the next one."""
        base = Signal.like(self.addr)
        beat = Signal(range(self.cfg.dense_beats))
        chunk = Signal.like(self.bank)
        filled = Signal.like(self.filled)
        final_chunk = Signal()
        m.d.comb += [
            self.addr.eq(base + beat),
            self.bank.eq(chunk),
            self.filled.eq(filled),
            final_chunk.eq(chunk == self.chunks - 1),
        ]
        with m.If(self.write):
            with m.If(hold):
                m.d.sync += beat.eq(beat + 1)
            with m.Else():
                m.d.sync += [beat.eq(0), chunk.eq(chunk + 1)]
                with m.If(final_chunk):
                    m.d.sync += [chunk.eq(0), base.eq(base + beat + 1)]
            with m.If(final_chunk):
                m.d.sync += filled.eq(filled + 1)
        with m.If(self.start):
            m.d.sync += [base.eq(0), beat.eq(0), chunk.eq(0), filled.eq(0)]
