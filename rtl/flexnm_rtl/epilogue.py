"""From the array's sums to the result stream: real tokens only, bias, requantisation, packing."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.axi import axi_stream
from flexnm_rtl.column_choice import ColumnChoice
from flexnm_rtl.config import Config
from flexnm_rtl.engine_layouts import result_beat
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.packer import Packer
from flexnm_rtl.pipeline import StageControl, Waiting, delay
from flexnm_rtl.requantize import Requantizer
from flexnm_rtl.sharing import add_shared
from flexnm_rtl.token_correction import TokenCorrection, token_ports
from flexnm_rtl.weight_loader import OUTPUTS_MAX, PARAMETER_SLOTS


def row_cycles(cfg: Config) -> int:
    """Cycles from a row of sums to the next one: for its choices, with ``short_stages`` 3 more for the rows to move."""
    return cfg.cols // cfg.result_ports + 3 * cfg.short_stages


class Epilogue(wiring.Component):
    """Takes a row of ``cols`` sums a beat and sends them, ``result_ports`` at a time, a row in ``row_cycles``.

    ``i``: stream of ``layouts.array_results``. ``o``: AXI4-Stream of ``engine_layouts.result_beat`` with ``tkeep``.
    The order: outputs inside a token, tokens inside a tile of ``cols`` outputs, tiles; each tile has ``cols`` results
    for each of its ``tokens``, and the rows that fill up the last group are dropped. ``biased``, ``scaled``: see
    ``Requantizer``; scaled results take ``requantized_width`` bits and lie side by side, across tokens.
    A choice reaches the output stream ``latency`` cycles later at the earliest.
    ``parameter_slot``: the tile at work. ``parameters``: of its outputs, from a memory of latency 1. ``tile_done``: its
    last row has been taken. ``done``: the last beat of the job was transferred. ``start`` sets everything back.
    In a design with ``static_shift``, ``token_shift`` or ``variance``, and while the port of that name is set: what the
    token at work needs of ``exponent``, ``shift``, ``gain`` (see ``TokenCorrection``) comes from a memory of latency 1
    that is read at ``token_next`` in every cycle; ``gain_there``: the gain of ``token`` has been computed.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.corrected = cfg.shifts or cfg.variance
        self.early = int(cfg.short_stages)
        self.latency = self.early + (TokenCorrection.latency if self.corrected else 0) + Requantizer.latency
        ports = token_ports(cfg)
        if self.corrected:
            ports |= {"token": Out(range(cfg.tokens_max)), "token_next": Out(range(cfg.tokens_max))}
        if cfg.variance:
            ports |= {"gain_there": In(1)}
        super().__init__(
            ports
            | {
                "i": In(stream.Signature(layouts.array_results(cfg))),
                "o": Out(axi_stream(result_beat(cfg), keep=True)),
                "start": In(1),
                "tokens": In(range(cfg.tokens_max + 1)),
                "outputs": In(range(OUTPUTS_MAX + 1)),
                "biased": In(1),
                "scaled": In(1),
                "parameter_slot": Out(range(PARAMETER_SLOTS)),
                "parameters": In(cfg.cols * cfg.parameter_bits),
                "tile_done": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.control = control = StageControl(self.latency, Waiting.RIGID)
        m.submodules.packer = packer = Packer(cfg.result_ports, wide=cfg.result_width, narrow=cfg.requantized_width)
        walk = self._walk(m, control)
        for port in range(cfg.result_ports):
            unit = add_shared(m, platform, "requantizer", f"requantizer_{port}", lambda: Requantizer(cfg))
            total, parameters = self._operands(m, platform, walk, control, port)
            m.d.comb += [
                unit.enable.eq(control.enable[-Requantizer.latency :]),
                unit.biased.eq(self.biased),
                unit.scaled.eq(self.scaled),
                unit.sum.eq(total),
                Value.cast(unit.parameters).eq(parameters),
                packer.elements[port].eq(unit.result),
            ]
        m.d.comb += [
            packer.narrow.eq(self.scaled),
            packer.start.eq(self.start),
            packer.valid.eq(control.o_valid),
            packer.last.eq(delay(m, control.enable, walk.final, "final")),
            control.o_ready.eq(packer.ready),
            self.done.eq(self.o.tvalid & self.o.tready & self.o.tlast),
        ]
        wiring.connect(m, packer.o, wiring.flipped(self.o))
        return m

    def _walk(self, m: Module, control: StageControl) -> LoopNest:
        """Through real results only: rows that fill up a group are taken and dropped."""
        cfg = self.cfg
        m.submodules.walk = walk = LoopNest(
            Loop("column", cfg.cols, cfg.result_ports),
            Loop("t", cfg.tokens_max, 1),
            Loop("o", OUTPUTS_MAX, cfg.cols),
            late=cfg.cols > cfg.result_ports,
        )
        dropping = Signal()
        moved = Signal()
        done, there, tile_ends = self._row_done(m, control, moved & walk.column_last, walk)
        gain_there = ~self.variance | self.gain_there if cfg.variance else 1
        m.d.comb += [
            walk.start.eq(self.start),
            walk.column_limit.eq(cfg.cols),
            walk.t_limit.eq(self.tokens),
            walk.o_limit.eq(self.outputs),
            walk.advance.eq(moved),
            control.i_valid.eq(self.i.valid & there & ~dropping & gain_there),
            moved.eq(control.i_valid & control.i_ready),
            self.i.ready.eq(dropping | done),
            self.tile_done.eq(done & tile_ends),
        ]
        with m.If(self.tile_done):
            m.d.sync += [dropping.eq(~self.i.p.last), self.parameter_slot.eq(self.parameter_slot + 1)]
        # The rows that fill up a job's last group may still be there when the next job starts.
        with m.If(dropping & self.i.valid & self.i.p.last):
            m.d.sync += dropping.eq(0)
        with m.If(self.start):
            m.d.sync += self.parameter_slot.eq(0)
        if self.corrected:
            following = Mux(tile_ends, 0, self.token + 1)
            m.d.comb += self.token_next.eq(Mux(self.start, 0, Mux(done, following, self.token)))
            m.d.sync += self.token.eq(self.token_next)
        return walk

    def _row_done(self, m: Module, control: StageControl, ends: Value, walk: LoopNest) -> tuple[Value, Value, Value]:
        """The row is taken in this cycle; it still has columns to choose; it is the tile's last real one.

        ``ends``: its last columns are chosen. A registered choice needs the row until the next stage has its sums; then
        a register tells the array, so that the row leaves a cycle later still.
        """
        if not self.early:
            return ends, Const(1, 1), walk.t_last
        chosen = Signal()
        done = Signal()
        tile_ends = Signal(reset_less=True)
        last = delay(m, control.enable[:1], walk.column_last, "column_last")
        m.d.sync += done.eq(control.enable[1] & last)
        with m.If(ends):
            m.d.sync += [chosen.eq(1), tile_ends.eq(walk.t_last)]
        with m.Elif(done):
            m.d.sync += chosen.eq(0)
        return done, ~chosen, tile_ends

    def _operands(
        self, m: Module, platform: object, walk: LoopNest, control: StageControl, port: int
    ) -> tuple[Value, Value]:
        """The sum for a requantizer, and the parameters of the output whose sum is in its first stage."""
        cfg = self.cfg
        choice = add_shared(m, platform, "column_choice", f"choice_{port}", lambda: ColumnChoice(cfg))
        columns = range(port, cfg.cols, cfg.result_ports)
        m.d.comb += [
            choice.sums.eq(Cat(self.i.p.sums[c] for c in columns)),
            choice.all_parameters.eq(Cat(self.parameters.word_select(c, cfg.parameter_bits) for c in columns)),
            choice.left.eq(walk.column_left),
        ]
        if self.early:
            m.d.comb += choice.enable.eq(control.enable[0])
        enable = control.enable[self.early :]
        total = choice.sum.as_signed()
        parameters = Value.cast(delay(m, enable[:1], choice.parameters, f"parameters_{port}"))
        if not self.corrected:
            return total, parameters
        unit = add_shared(m, platform, "correction", f"correction_{port}", lambda: TokenCorrection(cfg))
        m.d.comb += [
            unit.enable.eq(enable[: TokenCorrection.latency]),
            unit.sum.eq(total),
            unit.parameters.eq(parameters),
        ]
        for name in token_ports(cfg):
            m.d.comb += getattr(unit, name).eq(getattr(self, name))
        place = enable[TokenCorrection.latency : TokenCorrection.latency + 1]
        return unit.total, Value.cast(delay(m, place, unit.output_parameters, f"output_parameters_{port}"))
