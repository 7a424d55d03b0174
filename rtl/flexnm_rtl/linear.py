"""The linear-layer engine: compression, operand memories, sparse MAC array and epilogue behind AXI."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.act_loader import ActLoader
from flexnm_rtl.axi import axi_lite, axi_stream
from flexnm_rtl.banks import BankedMemory
from flexnm_rtl.config import Config
from flexnm_rtl.engine_layouts import act_beat, result_beat, weight_beat
from flexnm_rtl.enumerative import unranked
from flexnm_rtl.epilogue import Epilogue
from flexnm_rtl.feeder import Feeder
from flexnm_rtl.layouts import block
from flexnm_rtl.linear_registers import LinearRegisters
from flexnm_rtl.mac_array import MacArray
from flexnm_rtl.pipeline import delay
from flexnm_rtl.positions import RouteDecoder
from flexnm_rtl.registers import ADDRESS_BITS
from flexnm_rtl.sharing import add_shared
from flexnm_rtl.token_table import TokenTable
from flexnm_rtl.weight_loader import PARAMETER_SLOTS, WeightLoader

_METHOD_PORTS = (
    *("factors", "static_shift", "token_shift", "variance"),
    *("write_channel_data", "write_token_data", "table_index", "table_data"),
)
"""Ports of the registers that go to the units of the same names, in a design that has them."""


def _write_late(m: Module, store: BankedMemory, name: str, write: Value, bank: Value, addr: Value, data: Value) -> None:
    """Connect a memory's write port through registers, so that a word is written a cycle late."""
    m.d.sync += store.write.eq(write)
    m.d.comb += [
        store.write_bank.eq(delay(m, Const(1, 1), bank, f"{name}_bank")),
        store.write_addr.eq(delay(m, Const(1, 1), addr, f"{name}_addr")),
        store.data.eq(delay(m, Const(1, 1), data, f"{name}_data")),
    ]


class LinearEngine(wiring.Component):
    """Computes Y = S(X) W^T for a job of T tokens, K channels and O outputs, any sizes up to the configured ones.

    ``s_axis_acts``, ``s_axis_weights``, ``m_axis_results``: AXI4-Stream, a packet each a job; beats in
    ``engine_layouts``, orders in ``ActLoader``, ``WeightLoader`` and ``Epilogue``. ``s_axi``: AXI4-Lite, registers in
    ``registers``. Activations are read once, kept compressed, and used for all tiles of ``cols`` outputs; weights of a
    tile are read once and used for all groups of ``rows`` tokens, while the next tile is loaded.
    A job takes ceil(T/rows) * ceil(O/cols) * ceil(K/M) * ``steps`` cycles (times ``dense_beats`` in dense mode) when
    the streams keep up, plus ``latency`` from the first operands to the first result of the first group and what the
    last group's results take to leave. Ranks as metadata are those of the stream; inside, blocks have bitmasks.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.array = MacArray(unranked(cfg), decoded=True)
        self.latency = self.array.latency
        super().__init__(
            {
                "s_axi": In(axi_lite(ADDRESS_BITS)),
                "s_axis_acts": In(axi_stream(act_beat(cfg))),
                "s_axis_weights": In(axi_stream(weight_beat(cfg))),
                "m_axis_results": Out(axi_stream(result_beat(cfg), keep=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.registers = registers = LinearRegisters(cfg)
        m.submodules.acts = acts = ActLoader(cfg)
        m.submodules.weights = weights = WeightLoader(cfg)
        m.submodules.feeder = feeder = Feeder(cfg)
        m.submodules.array = array = self.array
        m.submodules.epilogue = epilogue = Epilogue(cfg)
        wiring.connect(m, wiring.flipped(self.s_axi), registers.s_axi)
        wiring.connect(m, epilogue.o, wiring.flipped(self.m_axis_results))
        wiring.connect(m, array.results, epilogue.i)
        m.d.comb += [
            registers.done.eq(epilogue.done),
            acts.compressed.eq(registers.compressed),
            weights.with_parameters.eq(registers.parameters),
            epilogue.biased.eq(registers.parameters),
            epilogue.scaled.eq(registers.requantize),
        ]
        for unit in (acts, weights, feeder, epilogue):
            for port in ("start", "abort", "tokens", "channels", "outputs", "dense", *_METHOD_PORTS):
                if hasattr(unit, port):
                    m.d.comb += getattr(unit, port).eq(getattr(registers, port))
        self._streams(m, registers, acts, weights)
        self._operands(m, platform, acts, weights, feeder)
        self._parameters(m, weights, epilogue)
        if epilogue.corrected:
            self._tokens(m, registers, acts, epilogue)
        if cfg.flexible:
            m.d.comb += [acts.pattern.eq(registers.pattern), self.array.steps.eq(registers.steps)]
        self._count(m, registers, feeder)
        return m

    def _streams(self, m: Module, registers: LinearRegisters, acts: ActLoader, weights: WeightLoader) -> None:
        for name, loader, port in (("acts", acts, self.s_axis_acts), ("weights", weights, self.s_axis_weights)):
            m.d.comb += [
                loader.i.valid.eq(port.tvalid),
                Value.cast(loader.i.p.data).eq(Value.cast(port.tdata)),
                loader.i.p.last.eq(port.tlast),
                port.tready.eq(loader.i.ready),
                getattr(registers, f"error_{name}_short").eq(loader.short),
                getattr(registers, f"error_{name}_long").eq(loader.long),
            ]

    def _operands(self, m: Module, platform: object, acts: ActLoader, weights: WeightLoader, feeder: Feeder) -> None:
        """The memories between the loaders and the array, of values, metadata and weights."""
        cfg = self.array.cfg
        written = [data.View(block(cfg), acts.data.word_select(p, block(cfg).size)) for p in range(cfg.act_ports)]
        values = Cat(Value.cast(b["values"]) for b in written)
        words = Cat(b.metadata for b in written)
        m.submodules.value_memory = value_memory = BankedMemory(acts.chunks, len(values), acts.depth, apart=True)
        m.submodules.metadata_memory = metadata_memory = BankedMemory(acts.chunks, len(words), acts.depth, apart=True)
        m.submodules.weight_memory = weight_memory = BankedMemory(
            weights.chunks, len(weights.data), weights.depth, apart=True
        )
        for name, loader, store, stored, read, address in (
            ("value", acts, value_memory, values, feeder.read_operands, feeder.value_addr),
            ("metadata", acts, metadata_memory, words, feeder.read, feeder.act_addr),
            ("weight", weights, weight_memory, weights.data, feeder.read_operands, feeder.weight_addr),
        ):
            # The feeder reads an entry two cycles after it was told of it, or later.
            _write_late(m, store, name, loader.write, loader.bank, loader.addr, stored)
            m.d.comb += [store.read.eq(read), store.read_addr.eq(address)]
        array = self.array
        for r in range(cfg.rows):
            target = array.acts.p.blocks[r]
            decoder = add_shared(m, platform, "route", f"route_{r}", lambda: RouteDecoder(cfg, pipelined=True))
            m.d.comb += [
                decoder.enable.eq(feeder.decode),
                decoder.word.eq(metadata_memory.value.word_select(r, cfg.metadata_width)),
                Value.cast(target.route).eq(Value.cast(decoder.route)),
                Value.cast(target["values"]).eq(value_memory.value.word_select(r, cfg.n_keep * cfg.value_width)),
            ]
        m.d.comb += [
            feeder.act_filled.eq(acts.filled),
            feeder.weight_entered.eq(weights.entered),
            weights.room.eq(feeder.weight_room),
            array.acts.valid.eq(feeder.valid),
            array.weights.valid.eq(feeder.valid),
            array.acts.p.hold.eq(feeder.hold),
            array.acts.p.last.eq(feeder.last),
            Value.cast(array.weights.p).eq(weight_memory.value),
            feeder.ready.eq(array.acts.ready),
        ]

    def _parameters(self, m: Module, weights: WeightLoader, epilogue: Epilogue) -> None:
        cfg = self.cfg
        part = cfg.parameter_slice
        words = cfg.parameter_words
        banks = words * weights.chunks
        m.submodules.parameters = store = BankedMemory(banks, cfg.weight_ports * part, PARAMETER_SLOTS)
        held = Signal(range(PARAMETER_SLOTS + 1))
        # A tile's sums come much later than its parameters.
        written = weights.write_parameters, weights.parameter_bank, weights.parameter_slot, weights.parameters
        _write_late(m, store, "parameter", *written)
        m.d.comb += [
            store.read.eq(1),
            store.read_addr.eq(epilogue.parameter_slot),
            weights.parameter_room.eq(held != PARAMETER_SLOTS),
        ]
        # An output's bits lie in the same place of each word.
        by_word = [store.value.word_select(w, cfg.cols * part) for w in range(words)]
        outputs = [Cat(word.word_select(c, part) for word in by_word)[: cfg.parameter_bits] for c in range(cfg.cols)]
        m.d.comb += epilogue.parameters.eq(Cat(outputs))
        # A cycle late, from a register: a slot is needed again much later.
        back = Signal()
        m.d.sync += [
            back.eq(epilogue.tile_done & epilogue.biased),
            held.eq(held + weights.parameters_entered - back),
        ]
        with m.If(epilogue.start):
            m.d.sync += [back.eq(0), held.eq(0)]

    def _tokens(self, m: Module, registers: LinearRegisters, acts: ActLoader, epilogue: Epilogue) -> None:
        """What the epilogue needs to know of each token, on its way from where it becomes known."""
        cfg = self.cfg
        m.submodules.tokens = tokens = TokenTable(cfg)
        m.d.comb += [tokens.start.eq(registers.start), tokens.read.eq(epilogue.token_next)]
        if cfg.static_shift:
            m.d.comb += [
                tokens.write_exponent.eq(registers.write_token_data),
                tokens.exponent_token.eq(registers.table_index),
                tokens.exponent_in.eq(registers.table_data),
                epilogue.exponent.eq(tokens.exponent),
            ]
        for name, source in (("shift", "mean"), ("gain", "gain")):
            if hasattr(tokens, name):
                m.d.comb += [
                    getattr(tokens, f"write_{name}").eq(getattr(acts, f"{source}_valid")),
                    getattr(tokens, f"{name}_token").eq(getattr(acts, f"{source}_token")),
                    getattr(tokens, f"{name}_in").eq(getattr(acts, source)),
                    getattr(epilogue, name).eq(getattr(tokens, name)),
                ]
        if cfg.variance:
            m.d.comb += epilogue.gain_there.eq(epilogue.token < tokens.gains)

    def _count(self, m: Module, registers: LinearRegisters, feeder: Feeder) -> None:
        taken = Signal()
        stalled = Signal()
        idle = Signal()
        steps_left = Signal(range(self.cfg.steps + 1))
        m.d.comb += [
            taken.eq(feeder.valid & feeder.ready),
            stalled.eq(feeder.valid & ~feeder.ready),
            idle.eq(steps_left == 0),
        ]
        # The feeder's first stage may wait for operands while its last one is stalled: that is one wait, for results.
        # A cycle late, from registers: the job goes on for longer than that.
        m.d.sync += [
            registers.count_blocks.eq(taken & ~feeder.hold),
            registers.count_busy_cycles.eq(~idle),
            registers.count_wait_acts.eq(idle & ~stalled & feeder.wait_acts),
            registers.count_wait_weights.eq(idle & ~stalled & feeder.wait_weights),
            registers.count_wait_results.eq(idle & stalled),
        ]
        with m.If(taken):
            m.d.sync += steps_left.eq(registers.steps if self.cfg.flexible else self.cfg.steps)
        with m.Elif(steps_left != 0):
            m.d.sync += steps_left.eq(steps_left - 1)
