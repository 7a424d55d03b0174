"""The decode engine: reads from memory only the weights of channels that were kept."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.axi import axi_lite, axi_read, axi_stream
from flexnm_rtl.banks import BankedMemory
from flexnm_rtl.channel_walker import ChannelWalker
from flexnm_rtl.config import Config, ConfigError
from flexnm_rtl.decode_registers import DecodeRegisters
from flexnm_rtl.engine_layouts import result_beat
from flexnm_rtl.epilogue import Epilogue
from flexnm_rtl.registers import ADDRESS_BITS
from flexnm_rtl.row_reader import RowReader
from flexnm_rtl.token_loader import TokenLoader, token_beat, token_entry
from flexnm_rtl.vector_mac import VectorMac


class DecodeEngine(wiring.Component):
    """Computes Y = S(X) W^T for T tokens, 1 .. ``rows``, with W in memory channel by channel.

    ``s_axis_acts``: AXI4-Stream of ``token_loader.token_beat``, a beat for each block of channels, a packet a job.
    ``m_axi``: AXI4 read channels. ``m_axis_results``: AXI4-Stream of exact sums in the order of ``Epilogue`` with
    ``cols`` = ``weights_per_bus``. ``s_axi``: AXI4-Lite, registers in ``registers.DECODE``.
    The weights of output o and channel k lie in tile t = o / ``tile_outputs`` (rounded down), whose rows start at
    base + t K ``row_bytes``: row k, and in it weight o mod ``tile_outputs``, ``memory_weight_width`` bits each, the
    first lowest. Of a row only the beats with outputs of the job are read, and only rows of channels that a token of
    the job keeps. A job takes as long as its reads, when ``outstanding`` bursts cover the memory's latency.
    Raises ConfigError for a configuration with the hardware of methods that only the linear engine has.
    """

    def __init__(self, cfg: Config) -> None:
        if cfg.methods:
            raise ConfigError(
                "the decode engine has no score factors, shifts and variance: leave them out, or choose TOP=linear"
            )
        self.cfg = cfg
        self.mac = VectorMac(cfg)
        self.latency = VectorMac.SETTLE
        super().__init__(
            {
                "s_axi": In(axi_lite(ADDRESS_BITS)),
                "s_axis_acts": In(axi_stream(token_beat(cfg))),
                "m_axi": Out(axi_read(cfg.address_width, cfg.bus_width)),
                "m_axis_results": Out(axi_stream(result_beat(self.mac.sums), keep=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.registers = registers = DecodeRegisters(cfg)
        m.submodules.tokens = tokens = TokenLoader(cfg)
        m.submodules.walker = walker = ChannelWalker(cfg)
        m.submodules.reader = reader = RowReader(cfg)
        m.submodules.mac = mac = self.mac
        m.submodules.epilogue = epilogue = Epilogue(mac.sums)
        wiring.connect(m, wiring.flipped(self.s_axi), registers.s_axi)
        wiring.connect(m, walker.o, reader.i)
        wiring.connect(m, reader.o, mac.i)
        wiring.connect(m, mac.o, epilogue.i)
        wiring.connect(m, reader.bus, wiring.flipped(self.m_axi))
        wiring.connect(m, epilogue.o, wiring.flipped(self.m_axis_results))
        for unit in (tokens, walker, reader, mac, epilogue):
            for port in ("start", "abort", "tokens", "channels", "outputs", "dense", "keep"):
                if hasattr(unit, port):
                    m.d.comb += getattr(unit, port).eq(getattr(registers, port))
        m.d.comb += [
            registers.done.eq(epilogue.done),
            tokens.i.valid.eq(self.s_axis_acts.tvalid),
            Value.cast(tokens.i.p.data).eq(Value.cast(self.s_axis_acts.tdata)),
            tokens.i.p.last.eq(self.s_axis_acts.tlast),
            self.s_axis_acts.tready.eq(tokens.i.ready),
            registers.error_acts_short.eq(tokens.short),
            registers.error_acts_long.eq(tokens.long),
        ]
        self._tokens(m, tokens, walker)
        self._memory(m, registers, reader)
        self._count(m, registers, reader)
        return m

    def _tokens(self, m: Module, tokens: TokenLoader, walker: ChannelWalker) -> None:
        store = BankedMemory(1, token_entry(self.cfg).size, tokens.depth)
        m.submodules.token_memory = store
        m.d.comb += [
            store.write.eq(tokens.write),
            store.write_addr.eq(tokens.addr),
            store.data.eq(Value.cast(tokens.entry)),
            store.read.eq(walker.read),
            store.read_addr.eq(walker.addr),
            Value.cast(walker.entry).eq(store.value),
            walker.filled.eq(tokens.filled),
        ]

    def _memory(self, m: Module, registers: DecodeRegisters, reader: RowReader) -> None:
        m.d.comb += [
            reader.base.eq(Cat(registers.base_low, registers.base_high)),
            reader.limit.eq(Cat(registers.limit_low, registers.limit_high)),
            reader.tile_bytes.eq(Cat(Const(0, self.cfg.row_bytes.bit_length() - 1), registers.channels)),
            registers.error_bus_error.eq(reader.bus_error),
            registers.error_outside.eq(reader.outside),
        ]

    def _count(self, m: Module, registers: DecodeRegisters, reader: RowReader) -> None:
        o = reader.o
        m.d.comb += [
            registers.count_rows.eq(reader.requested),
            registers.count_beats.eq(o.valid & o.ready & o.p.valid_data),
            registers.count_wait_memory.eq(~o.valid),
            registers.count_wait_results.eq(o.valid & ~o.ready),
        ]
