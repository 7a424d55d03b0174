"""The engine's operand memories: written a bank at a time, read all banks at once."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import bits_for
from flexnm_rtl.sharing import add_shared


def bank_signature(width: int, depth: int) -> wiring.Signature:
    """Ports of a ``Bank``, seen from outside."""
    return wiring.Signature(
        {
            "write": In(1),
            "write_addr": In(bits_for(depth)),
            "data": In(width),
            "read": In(1),
            "read_addr": In(bits_for(depth)),
            "value": Out(width),
        }
    )


class Bank(wiring.Component):
    """One memory with a write and a read port; see ``BankedMemory``."""

    def __init__(self, width: int, depth: int, *, apart: bool = False) -> None:
        self.width = width
        self.depth = depth
        self.apart = apart
        super().__init__(bank_signature(width, depth))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        attributes = {"no_rw_check": 1} if self.apart else {}
        m.submodules.store = store = memory.Memory(
            shape=unsigned(self.width), depth=_words(self.depth), init=[], attrs=attributes
        )
        write, read = store.write_port(), store.read_port()
        m.d.comb += [
            write.addr.eq(self.write_addr),
            write.data.eq(self.data),
            write.en.eq(self.write),
            read.addr.eq(self.read_addr),
            read.en.eq(self.read),
            self.value.eq(read.data),
        ]
        return m


def _words(depth: int) -> int:
    return max(2, depth)  # a depth of 1 would make address ports of no width


_BANK_RTLIL = r"""module \{name}
{attribute}  memory width {width} size {words} \store
  wire width 1 input 0 \write
  wire width {bits} input 1 \write_addr
  wire width {width} input 2 \data
  wire width 1 input 3 \read
  wire width {bits} input 4 \read_addr
  wire width 1 input 5 \clk
  wire width {width} output 6 \value
  cell $memwr_v2 $1
    parameter \MEMID "\\store"
    parameter \ABITS {bits}
    parameter \WIDTH {width}
    parameter \CLK_ENABLE 1
    parameter \CLK_POLARITY 1
    parameter \PORTID 0
    parameter \PRIORITY_MASK 0
    connect \ADDR \write_addr
    connect \DATA \data
    connect \EN {{ {enables} }}
    connect \CLK \clk
  end
  cell $memrd_v2 $2
    parameter \MEMID "\\store"
    parameter \ABITS {bits}
    parameter \WIDTH {width}
    parameter \TRANSPARENCY_MASK 1'0
    parameter \COLLISION_X_MASK 1'0
    parameter \ARST_VALUE {unknown}
    parameter \SRST_VALUE {unknown}
    parameter \INIT_VALUE {unknown}
    parameter \CE_OVER_SRST 0
    parameter \CLK_ENABLE 1
    parameter \CLK_POLARITY 1
    connect \ADDR \read_addr
    connect \DATA \value
    connect \ARST 1'0
    connect \SRST 1'0
    connect \EN \read
    connect \CLK \clk
  end
end
"""


def bank_rtlil(name: str, width: int, depth: int, *, apart: bool = False) -> str:
    """A ``Bank`` as the RTLIL module ``name``: what Amaranth writes, but without initial values.

    Amaranth writes a digit for every bit of a memory, which takes seconds; the Verilog drops initial values anyway.
    """
    return _BANK_RTLIL.format(
        name=name,
        width=width,
        words=_words(depth),
        attribute="  attribute \\no_rw_check 1\n" if apart else "",
        bits=bits_for(depth),
        enables=r"\write " * width,
        unknown=f"{width}'{'x' * width}",
    )


class BankedMemory(wiring.Component):
    """``banks`` memories of ``depth`` words of ``width`` bits, each with one write and one read port.

    ``write``: store ``data`` at ``write_addr`` of bank ``write_bank``. ``read``: look up ``read_addr`` in every bank;
    ``value`` shows the words in the next cycle, bank 0 lowest, and keeps them until the next ``read``. A word written
    in the cycle it is read in is not seen. Without initial values.
    apart: the user never reads a word in the cycle it is written in. That saves FPGAs a comparison of addresses and a
    multiplexer behind the memory (Yosys: attribute ``no_rw_check``).
    """

    def __init__(self, banks: int, width: int, depth: int, *, apart: bool = False) -> None:
        self.apart = apart
        self.banks = banks
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "write": In(1),
                "write_bank": In(bits_for(banks)),
                "write_addr": In(bits_for(depth)),
                "data": In(width),
                "read": In(1),
                "read_addr": In(bits_for(depth)),
                "value": Out(banks * width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        values = []
        kind = f"bank_{self.width}x{self.depth}{'_apart' if self.apart else ''}"
        for bank in range(self.banks):
            store = add_shared(m, platform, kind, f"bank_{bank}", self._bank, self._emit)
            m.d.comb += [
                store.write_addr.eq(self.write_addr),
                store.data.eq(self.data),
                store.write.eq(self.write & (self.write_bank == bank)),
                store.read_addr.eq(self.read_addr),
                store.read.eq(self.read),
            ]
            values.append(store.value)
        m.d.comb += self.value.eq(Cat(values))
        return m

    def _bank(self) -> Bank:
        return Bank(self.width, self.depth, apart=self.apart)

    def _emit(self, name: str) -> tuple[wiring.Signature, str]:
        return bank_signature(self.width, self.depth), bank_rtlil(name, self.width, self.depth, apart=self.apart)
