"""Between the activation stream and the compressors: channel tables, shifts and factors of the scores."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.banks import BankedMemory
from flexnm_rtl.config import CHANNEL_SHIFT_WIDTH, EXPONENT_WIDTH, Config, ScoreFactor, bits_for, ceil_div
from flexnm_rtl.engine_layouts import act_beat, act_slot
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.recenter import Recenter
from flexnm_rtl.sharing import add_shared


def prepared(cfg: Config) -> data.StructLayout:
    """A beat ready for the compressors: of each token the raw ``slots`` and the ``blocks`` of values; the channels'
    ``keep`` bits, and their ``factors`` in a design that has them.
    """
    fields: dict[str, Any] = {
        "slots": data.ArrayLayout(act_slot(cfg), cfg.act_ports),
        "blocks": data.ArrayLayout(layouts.values(cfg), cfg.act_ports),
        "keep": cfg.m_group,
    }
    scored = {} if cfg.score_factor is ScoreFactor.NONE else {"factors": layouts.factors(cfg)}
    return data.StructLayout(fields | scored)


class Preparation(wiring.Component):
    """Looks up what belongs to a beat's channels and tokens, and shifts its activations.

    ``i``: stream of ``engine_layouts.act_beat``; with it ``keep`` (real channels of the block), ``chunk_last`` and
    ``k_last`` (last beat of a block, last block of a group). ``o``: stream of ``prepared``. ``start``: the next beat is
    the first of a job. Latency: ``latency`` cycles (tables 1, shifts 2; without both it is combinational).
    Modes, in a design that has their hardware: ``factors`` (else every channel scores its magnitude),
    ``static_shift``, ``token_shift``. ``means``: shifts of the tokens of the group that passes.
    Tables: ``write_channel_data`` stores ``table_data`` for channel ``table_index``, ``write_token_data`` for that
    token; formats in ``registers``. They keep their contents between jobs. A channel's index is that of its block,
    shifted left by ``index_width``, and its place in the block: for an M that is a power of two, the channel itself.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.scored = cfg.score_factor is not ScoreFactor.NONE
        self.tabled = self.scored or cfg.static_shift
        self.latency = int(self.tabled) + (Recenter.latency if cfg.shifts else 0)
        ports: dict[str, wiring.Member] = {}
        if self.latency:
            ports |= {"start": In(1), "chunk_last": In(1)}
        if self.tabled:
            ports |= {"k_last": In(1), "write_channel_data": In(1), "table_index": In(24), "table_data": In(32)}
        if self.scored:
            ports |= {"factors": In(1)}
        if cfg.static_shift:
            ports |= {"static_shift": In(1), "write_token_data": In(1)}
        if cfg.token_shift:
            ports |= {"token_shift": In(1), "means": In(data.ArrayLayout(signed(cfg.shift_width), cfg.rows))}
        super().__init__(
            ports
            | {
                "i": In(stream.Signature(act_beat(cfg))),
                "keep": In(cfg.m_group),
                "o": Out(stream.Signature(prepared(cfg))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        beat = Value.cast(self.i.p)
        if self.latency:
            m.submodules.control = control = StageControl(self.latency)
            m.d.comb += [
                control.i_valid.eq(self.i.valid),
                self.i.ready.eq(control.i_ready),
                self.o.valid.eq(control.o_valid),
                control.o_ready.eq(self.o.ready),
            ]
            enable = control.enable
        else:
            m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
            enable = Const(0, 0)
        looked_up = self._look_up(m, enable[:1]) if self.tabled else {}
        first = int(self.tabled)
        if cfg.token_shift:
            chunk = self._chunk(m)
            for port in range(cfg.act_ports):
                of_port = Array(self.means[c * cfg.act_ports + port] for c in range(cfg.rows // cfg.act_ports))
                looked_up[f"shift_{port}"] = delay(m, enable[:first], of_port[chunk], f"shift_{port}")
        slots = delay(m, enable[:first], beat, "beat")
        keep = delay(m, enable[:first], self.keep, "real")
        blocks = [self._block(m, platform, enable[first:], slots, looked_up, port) for port in range(cfg.act_ports)]
        m.d.comb += [
            Value.cast(self.o.p.slots).eq(delay(m, enable[first:], slots, "slots")),
            Value.cast(self.o.p.blocks).eq(Cat(blocks)),
            self.o.p.keep.eq(delay(m, enable[first:], keep, "keep")),
        ]
        if self.scored:
            neutral = Const(1 if cfg.score_factor is ScoreFactor.MULTIPLY else 0, cfg.factor_width)
            # Nobody writes table entries of padding; a simulator takes 0 times something unknown for unknown.
            of_channels = [Mux(self.factors & keep[i], looked_up[f"factor_{i}"], neutral) for i in range(cfg.m_group)]
            m.d.comb += Value.cast(self.o.p.factors).eq(delay(m, enable[first:], Cat(of_channels), "factors"))
        return m

    def _block(
        self, m: Module, platform: object, enable: Any, slots: Value, looked_up: dict[str, Value], port: int
    ) -> Value:
        """The values of one token's block."""
        cfg = self.cfg
        raw = data.View(act_slot(cfg), slots.word_select(port, 8 * cfg.act_slot_bytes)).dense
        if not cfg.shifts:
            return Value.cast(raw)
        unit = add_shared(m, platform, "recenter", f"recenter_{port}", lambda: Recenter(cfg))
        m.d.comb += [unit.enable.eq(enable), Value.cast(unit.activations).eq(Value.cast(raw))]
        if cfg.static_shift:
            shifts = Cat(looked_up[f"channel_shift_{i}"] for i in range(cfg.m_group))
            m.d.comb += [
                unit.static_shift.eq(self.static_shift),
                Value.cast(unit.channel_shifts).eq(shifts),
                unit.exponent.eq(looked_up[f"exponent_{port}"]),
            ]
        if cfg.token_shift:
            m.d.comb += [unit.token_shift.eq(self.token_shift), unit.shift.eq(looked_up[f"shift_{port}"])]
        return Value.cast(unit.values)

    def _chunk(self, m: Module) -> Signal:
        """Which beat of a block this is."""
        chunk = Signal(bits_for(self.cfg.rows // self.cfg.act_ports))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += chunk.eq(Mux(self.chunk_last, 0, chunk + 1))
        with m.If(self.start):
            m.d.sync += chunk.eq(0)
        return chunk

    def _look_up(self, m: Module, enable: Any) -> dict[str, Value]:
        """Table entries of the beat, in the cycle after ``enable``."""
        cfg = self.cfg
        block = Signal(bits_for(cfg.blocks(cfg.k_max)))
        with m.If(self.i.valid & self.i.ready & self.chunk_last):
            m.d.sync += block.eq(Mux(self.k_last, 0, block + 1))
        with m.If(self.start):
            m.d.sync += block.eq(0)
        factor_width = cfg.factor_width if self.scored else 0
        width = factor_width + (CHANNEL_SHIFT_WIDTH if cfg.static_shift else 0)
        m.submodules.channels = channels = BankedMemory(cfg.m_group, width, cfg.blocks(cfg.k_max))
        shifts = [self.table_data[32 - CHANNEL_SHIFT_WIDTH :]] if cfg.static_shift else []
        m.d.comb += [
            channels.write.eq(self.write_channel_data),
            channels.write_bank.eq(self.table_index[: cfg.index_width]),
            channels.write_addr.eq(self.table_index[cfg.index_width :]),
            channels.data.eq(Cat(self.table_data[:factor_width], *shifts)),
            channels.read.eq(enable),
            channels.read_addr.eq(block),
        ]
        found: dict[str, Value] = {}
        for i in range(cfg.m_group):
            bits = channels.value.word_select(i, width)
            found[f"factor_{i}"], found[f"channel_shift_{i}"] = bits[:factor_width], bits[factor_width:]
        if cfg.static_shift:
            found |= self._exponents(m, enable)
        return found

    def _exponents(self, m: Module, enable: Any) -> dict[str, Value]:
        """Exponents of the beat's tokens. Beats of a group repeat its tokens for every block."""
        cfg = self.cfg
        depth = ceil_div(cfg.tokens_max, cfg.act_ports)
        m.submodules.tokens = tokens = BankedMemory(cfg.act_ports, EXPONENT_WIDTH, depth)
        group = Signal(bits_for(depth))
        current = Signal(bits_for(depth))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += current.eq(current + 1)
            with m.If(self.chunk_last):
                m.d.sync += current.eq(Mux(self.k_last, current + 1, group))
                with m.If(self.k_last):
                    m.d.sync += group.eq(current + 1)
        with m.If(self.start):
            m.d.sync += [group.eq(0), current.eq(0)]
        bank_bits = (cfg.act_ports - 1).bit_length()
        m.d.comb += [
            tokens.write.eq(self.write_token_data),
            tokens.write_bank.eq(self.table_index[:bank_bits]),
            tokens.write_addr.eq(self.table_index[bank_bits:]),
            tokens.data.eq(self.table_data),
            tokens.read.eq(enable),
            tokens.read_addr.eq(current),
        ]
        return {f"exponent_{p}": tokens.value.word_select(p, EXPONENT_WIDTH) for p in range(cfg.act_ports)}
