"""The engine's operand memories: written a bank at a time, read all banks at once."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import bits_for
from flexnm_rtl.sharing import add_shared


class Bank(wiring.Component):
    """One memory with a write and a read port; see ``BankedMemory``."""

    def __init__(self, width: int, depth: int) -> None:
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "write": In(1),
                "write_addr": In(bits_for(depth)),
                "data": In(width),
                "read": In(1),
                "read_addr": In(bits_for(depth)),
                "value": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A depth of 1 would make address ports of no width.
        m.submodules.store = store = memory.Memory(shape=unsigned(self.width), depth=max(2, self.depth), init=[])
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


class BankedMemory(wiring.Component):
    """``banks`` memories of ``depth`` words of ``width`` bits, each with one write and one read port.

    ``write``: store ``data`` at ``write_addr`` of bank ``write_bank``. ``read``: look up ``read_addr`` in every bank;
    ``value`` shows the words in the next cycle, bank 0 lowest, and keeps them until the next ``read``. A word written
    in the cycle it is read in is not seen. Without initial values.
    """

    def __init__(self, banks: int, width: int, depth: int) -> None:
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
        kind = f"bank_{self.width}x{self.depth}"
        for bank in range(self.banks):
            store = add_shared(m, platform, kind, f"bank_{bank}", lambda: Bank(self.width, self.depth))
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
