"""Activations of a job: from the stream, through compression, into the engine's activation memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import gate
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import GAIN_WIDTH, Config, Metadata, ScoreFactor, bits_for, ceil_div
from flexnm_rtl.dense_split import DenseSplitter
from flexnm_rtl.engine_layouts import act_beat
from flexnm_rtl.enumerative import RankDecoder, decoder_stages, unranked
from flexnm_rtl.group_buffer import GroupBuffer
from flexnm_rtl.layouts import block, pattern_port
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.packet_guard import PacketGuard
from flexnm_rtl.padding import real_channels
from flexnm_rtl.pipeline import delay
from flexnm_rtl.preparation import Preparation
from flexnm_rtl.sharing import add_shared
from flexnm_rtl.variance_meter import VarianceMeter


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
    ``PacketGuard``. ``pattern``: see ``Compressor``. ``factors``, ``static_shift``, ``token_shift``, ``variance``:
    modes, in a design that has them, and the ports of ``Preparation``, ``GroupBuffer`` (``mean`` of ``mean_token`` with
    ``mean_valid``) and ``VarianceMeter`` (``gain`` of ``gain_token`` with ``gain_valid``) that go with them.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.preparation = Preparation(cfg)
        self.chunks = cfg.rows // cfg.act_ports
        self.depth = act_depth(cfg)
        self.guard = PacketGuard(act_beat(cfg))
        super().__init__(
            self._method_ports(cfg)
            | pattern_port(cfg)
            | {
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
                "data": Out(cfg.act_ports * block(unranked(cfg)).size),
                "filled": Out(range(self.depth + 1)),
                "short": Out(1),
                "long": Out(1),
            }
        )

    def _method_ports(self, cfg: Config) -> dict[str, wiring.Member]:
        own = ("factors", "static_shift", "write_channel_data", "write_token_data", "table_index", "table_data")
        members = self.preparation.signature.members
        ports = {name: members[name] for name in own if name in members}
        token = bits_for(ceil_div(cfg.tokens_max, cfg.rows) * cfg.rows)
        if cfg.token_shift:
            mean = {"mean_valid": Out(1), "mean_token": Out(token), "mean": Out(signed(cfg.shift_width))}
            ports |= {"token_shift": In(1)} | mean
        if cfg.variance:
            gain = {"gain_valid": Out(1), "gain_token": Out(token), "gain": Out(GAIN_WIDTH)}
            ports |= {"variance": In(1)} | gain
        return ports

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.guard = guard = self.guard
        m.submodules.walk = walk = self._walk(m)
        wiring.connect(m, wiring.flipped(self.i), guard.i)
        m.d.comb += [
            guard.start.eq(self.start),
            guard.abort.eq(self.abort),
            guard.final.eq(walk.final),
            self.short.eq(guard.short),
            self.long.eq(guard.long),
            walk.advance.eq(guard.o.valid & guard.o.ready),
        ]
        o = self._prepare(m, guard.o, walk)
        blocks, valid, hold = self._compress(m, platform, o)
        m.d.comb += [self.write.eq(valid), self.data.eq(Cat(blocks))]
        self._place(m, hold)
        return m

    def _walk(self, m: Module) -> LoopNest:
        """Through the beats of a job."""
        cfg = self.cfg
        walk = LoopNest(
            Loop("chunk", self.chunks, 1), Loop("k", cfg.k_max, cfg.m_group), Loop("t", cfg.tokens_max, cfg.rows)
        )
        m.d.comb += [
            walk.start.eq(self.start),
            walk.chunk_limit.eq(self.chunks),
            walk.k_limit.eq(self.channels),
            walk.t_limit.eq(self.tokens),
        ]
        return walk

    def _prepare(self, m: Module, beats: stream.Interface, walk: LoopNest) -> stream.Interface:
        """The stream of prepared beats; ``walk`` stands at the beat that ``beats`` offers."""
        cfg = self.cfg
        m.submodules.preparation = preparation = self.preparation
        if cfg.token_shift:
            m.submodules.buffer = buffer = GroupBuffer(cfg)
            m.submodules.replay = walk = self._walk(m)
            wiring.connect(m, beats, buffer.i)
            beats = buffer.o
            m.d.comb += [
                buffer.start.eq(self.start),
                buffer.channels.eq(self.channels),
                buffer.enable.eq(self.token_shift),
                walk.advance.eq(beats.valid & beats.ready),
                preparation.token_shift.eq(self.token_shift),
                preparation.means.eq(buffer.means),
                self.mean_valid.eq(buffer.mean_valid),
                self.mean_token.eq(buffer.token),
                self.mean.eq(buffer.mean),
            ]
        wiring.connect(m, beats, preparation.i)
        m.d.comb += preparation.keep.eq(real_channels(m, cfg, walk, self.channels))
        for name, value in (("start", self.start), ("chunk_last", walk.chunk_last), ("k_last", walk.k_last)):
            if hasattr(preparation, name):
                m.d.comb += getattr(preparation, name).eq(value)
        for name in self._method_ports(cfg):
            if name in preparation.signature.members and name != "token_shift":
                m.d.comb += getattr(preparation, name).eq(getattr(self, name))
        return preparation.o

    def _compress(self, m: Module, platform: object, o: stream.Interface) -> tuple[list[Value], Value, Value]:
        """Blocks of all slots in the job's mode, whether they are valid, and whether a dense block goes on."""
        blocks: list[Value] = []
        compressors = []
        valid: Value = Value.cast(0)
        hold: Value = Value.cast(0)
        stored = unranked(self.cfg)
        given, given_valid = self._given(m, platform, o)
        meter = self._meter(m, o)
        waiting = meter.hold if meter is not None else Const(0)
        for port in range(self.cfg.act_ports):
            compressor = add_shared(m, platform, "compressor", f"compressor_{port}", lambda: Compressor(stored))
            splitter = add_shared(m, platform, "splitter", f"splitter_{port}", lambda: DenseSplitter(stored))
            sparse = ~self.dense & ~self.compressed & ~waiting
            for unit, chosen in ((compressor, sparse), (splitter, self.dense)):
                self._feed(m, unit, o, port, o.valid & chosen)
            if self.cfg.score_factor is not ScoreFactor.NONE:
                m.d.comb += compressor.i.p.factors.eq(o.p.factors)
            if self.cfg.flexible:
                m.d.comb += compressor.pattern.eq(self.pattern)
            compressors.append(compressor)
            chosen_block = Mux(self.compressed, given[port], Value.cast(compressor.o.p.block))
            blocks.append(Mux(self.dense, Value.cast(splitter.o.p.block), chosen_block))
            if port == 0:
                ready = Mux(self.compressed, 1, compressor.i.ready & ~waiting)
                m.d.comb += o.ready.eq(Mux(self.dense, splitter.i.ready, ready))
                valid = Mux(self.dense, splitter.o.valid, Mux(self.compressed, given_valid, compressor.o.valid))
                hold = self.dense & splitter.o.p.hold
        if meter is not None:
            m.d.comb += [
                meter.after_valid.eq(compressors[0].o.valid),
                Value.cast(meter.after).eq(Cat(Value.cast(c.o.p.block["values"]) for c in compressors)),
            ]
        return blocks, valid, hold

    def _given(self, m: Module, platform: object, o: stream.Interface) -> tuple[list[Value], Value]:
        """Blocks that arrive compressed, with bitmasks in the place of ranks, and whether they are there."""
        cfg = self.cfg
        blocks = [o.p.slots[port].compressed for port in range(cfg.act_ports)]
        if cfg.metadata is not Metadata.ENUMERATIVE:
            return [Value.cast(given) for given in blocks], o.valid
        latency = len(decoder_stages(cfg))
        always = Const((1 << latency) - 1, latency)  # the memory takes a block in every cycle
        there = Signal(latency)
        m.d.sync += there.eq(Mux(self.start, 0, Cat(o.valid, there)))
        decoded: list[Value] = []
        for port, given in enumerate(blocks):
            decoder = add_shared(m, platform, "rank_decoder", f"rank_decoder_{port}", lambda: RankDecoder(cfg))
            m.d.comb += [decoder.word.eq(given.metadata), decoder.enable.eq(always)]
            decoded.append(Cat(delay(m, always, Value.cast(given["values"]), f"given_{port}"), decoder.mask))
        return decoded, there[-1]

    def _meter(self, m: Module, o: stream.Interface) -> VarianceMeter | None:
        """What measures variances, connected to the values before their selection."""
        if not self.cfg.variance:
            return None
        m.submodules.variance_meter = meter = VarianceMeter(self.cfg)
        blocks = [[gate(keep, v) for keep, v in zip(o.p.keep, block, strict=True)] for block in o.p.blocks]
        m.d.comb += [
            meter.start.eq(self.start),
            meter.channels.eq(self.channels),
            meter.enable.eq(self.variance),
            meter.before_valid.eq(o.valid & o.ready),
            Value.cast(meter.before).eq(Cat(Cat(block) for block in blocks)),
            self.gain_valid.eq(meter.nu_valid),
            self.gain_token.eq(meter.token),
            self.gain.eq(meter.nu),
        ]
        return meter

    def _feed(self, m: Module, unit: Any, o: stream.Interface, port: int, valid: Value) -> None:
        m.d.comb += [
            Value.cast(unit.i.p["values"]).eq(Value.cast(o.p.blocks[port])),
            unit.i.p.keep.eq(o.p.keep),
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
