"""What the registers of either engine answer: a model of the documented rules, for any single access."""

from __future__ import annotations

from collections.abc import Collection

from flexnm_rtl.registers import Access, Register, RegisterMap

from flexnm_tb.cosim.disturbance import Access as BusAccess
from flexnm_tb.cosim.disturbance import Answer
from flexnm_tb.fuzz.case import check

OKAY, SLVERR = 0, 2
_INDEX_MASK = (1 << 24) - 1


class RegisterState:
    """Words of the job registers, error flags, status. absent: registers this unit has no hardware for.

    constants: words of the registers that never change. counters: of the last job, where they are known.
    """

    def __init__(self, registers: RegisterMap, absent: Collection[str]) -> None:
        self.map = registers
        self.absent = set(absent)
        self.by_index = {register.offset // 4: register for register in registers.values()}
        self.constants: dict[str, int] = {}
        self.reset()

    def reset(self) -> None:
        """As after power-up."""
        self.words = {name: 0 for name, register in self.map.items() if register.access is Access.JOB}
        self.errors, self.done = 0, False
        self.counters: dict[str, int] = {
            name: 0 for name, register in self.map.items() if register.offset >= self.map["cycles"].offset
        }

    def tame(self, access: BusAccess, *, busy: bool) -> BusAccess:
        """The access without what would start or abort a job, or clear a flag at a time that matters."""
        register = self.by_index.get(access.address // 4)
        data = access.data
        if access.write and register is not None and register.access is Access.COMMAND:
            data &= ~(2 if busy else 1)
        if access.write and register is not None and register.access is Access.CLEAR and busy:
            data = 0
        return BusAccess(access.write, access.address, data, access.strobes, access.at, access.waits)

    def expect(self, access: BusAccess, answer: Answer, *, busy: bool) -> str:
        """Check an answer and take over the effect. Returns what was bad about the access, "" for nothing.

        Raises FuzzError for another response or other data.
        """
        register = self.by_index.get(access.address // 4)
        where = f"{'write' if access.write else 'read'} of {access.address:#04x}, strobes {access.strobes:#x}"
        where += f" ({register.name if register else 'no register'}, {'busy' if busy else 'idle'})"
        good = register is not None and (not access.write or self._writable(register, busy))
        want = OKAY if good else SLVERR
        check(answer.response == want, f"{where}: response {answer.response}, not {want}")
        if not access.write:
            self._read(register, answer.data, where, busy)
        elif register is not None and good:
            self._write(register, access, busy)
        if register is None:
            return "unknown address"
        if not good:
            refused = busy and register.access in (Access.JOB, Access.TABLE) and register.name not in self.absent
            return "write while busy" if refused else "write to a read-only register"
        return ("partial strobes" if access.write and access.strobes != 0xF else "") or (
            "unaligned address" if access.address % 4 else ""
        )

    def _writable(self, register: Register, busy: bool) -> bool:
        if register.access is Access.READ_ONLY or register.name in self.absent:
            return False
        return not (busy and register.access in (Access.JOB, Access.TABLE))

    def _read(self, register: Register | None, data: int, where: str, busy: bool) -> None:
        known: int | None = 0
        if register is not None and register.name in self.words:
            known = self.words[register.name]
        elif register is not None and register.name in self.constants:
            known = self.constants[register.name]
        elif register is not None and register.name in ("status", "errors"):
            known = None if busy else self.errors if register.name == "errors" else self.status
        elif register is not None and register.offset >= self.map["cycles"].offset:
            known = None if busy else self.counters.get(register.name)
        check(known is None or data == known, f"{where}: {data:#x}, not {known or 0:#x}")

    @property
    def status(self) -> int:
        """The word of ``status`` while no job runs."""
        return self.map["status"].encode(done=int(self.done))

    def _write(self, register: Register, access: BusAccess, busy: bool) -> None:
        mask = sum(0xFF << 8 * byte for byte in range(4) if access.strobes >> byte & 1)
        bits = access.data & mask
        if register.access is Access.JOB:
            there = register.encode(**{field.name: (1 << field.width) - 1 for field in register.fields})
            old = self.words[register.name]
            self.words[register.name] = (old & ~mask | bits) & there
        elif register.access is Access.TABLE:
            self.words["table_index"] = self.words["table_index"] + (mask != 0) & _INDEX_MASK
        elif register.access is Access.CLEAR:
            self.errors &= ~bits
        elif busy and bits & register.encode(start=1):
            self.errors |= self.map["errors"].encode(not_ready=1)
