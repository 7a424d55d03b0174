"""Registers behind AXI4-Lite, made from a register map; what is common to the engines."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.axi import axi_lite
from flexnm_rtl.axi_lite import AxiLiteSubordinate
from flexnm_rtl.config import Config
from flexnm_rtl.registers import ADDRESS_BITS, Access, Field, RegisterMap

_OWN_ERRORS = ("shape", "not_ready", "aborted")


def common_identity(cfg: Config, registers: RegisterMap) -> dict[str, int]:
    """Words of the read-only registers that both engines have, but for the identification."""
    major, minor, patch = (int(part) for part in version("flexnm").split(".")[:3])
    widths = {"act": cfg.act_width, "weight": cfg.weight_width, "acc": cfg.acc_width, "result": cfg.result_width}
    return {
        "version": registers["version"].encode(patch=patch, minor=minor, major=major),
        "widths": registers["widths"].encode(**widths),
        "k_max": cfg.k_max,
    }


class RegisterFile(wiring.Component):
    """Job registers, commands, status, error flags, counters of ``registers``.

    identity: words of the registers that never change. limits: largest values of job fields, where a port needs fewer
    bits than the register has; a job beyond them must not pass ``valid_job``.
    ``busy``: a job runs. ``start``: set in the first cycle of ``busy``. ``abort``: set from the command until the job
    ends. ``done``: it ends in this cycle. Each field of a job register drives a port of its name.
    ``write_x``: the word ``table_data`` is written to table register ``x``, entry ``table_index``.
    more_ports: those of the engine's own logic. absent: job and table registers that this unit has no hardware for:
    they read 0, writing them answers SLVERR.
    ``count_x``: counter ``x`` (a read-only register behind ``cycles``) goes up by one. ``error_x``: error flag ``x``
    gets set.
    """

    def __init__(
        self,
        cfg: Config,
        registers: RegisterMap,
        identity: Mapping[str, int],
        limits: Mapping[str, int],
        absent: Collection[str] = (),
        more_ports: Mapping[str, Any] | None = None,
    ) -> None:
        self.cfg = cfg
        self.map = registers
        self.identity = identity
        self.limits = limits
        self.absent = absent
        there = [register for register in registers.values() if register.name not in absent]
        self.job_registers = [register for register in there if register.access is Access.JOB]
        self.tables = [register for register in there if register.access is Access.TABLE]
        behind = registers["cycles"].offset
        self.counters = [name for name, register in registers.items() if register.offset > behind]
        self.errors = [field.name for field in registers["errors"].fields if field.name not in _OWN_ERRORS]
        ports: dict[str, Any] = {"s_axi": In(axi_lite(ADDRESS_BITS))}
        ports |= {"start": Out(1), "abort": Out(1), "busy": Out(1), "done": In(1)}
        ports |= {f.name: Out(self._job_width(f)) for register in self.job_registers for f in register.fields}
        ports |= {f"write_{register.name}": Out(1) for register in self.tables}
        ports |= {"table_data": Out(32)} if self.tables else {}
        ports |= {f"count_{name}": In(1) for name in self.counters}
        ports |= {f"error_{name}": In(1) for name in self.errors}
        self.stored = {
            f.name: Signal(f.width, name=f"job_{f.name}") for register in self.job_registers for f in register.fields
        }
        super().__init__(ports | dict(more_ports or {}))

    def valid_job(self, words: Mapping[str, Any]) -> Value:
        """Whether the engine can do the job that the job registers, ``words`` by name, ask for."""
        raise NotImplementedError

    def _job_width(self, field: Field) -> int:
        return min(field.width, self.limits.get(field.name, 1 << field.width).bit_length())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bus = bus = AxiLiteSubordinate(ADDRESS_BITS)
        wiring.connect(m, wiring.flipped(self.s_axi), bus.bus)
        m.d.comb += bus.write_ok.eq(0)
        with m.Switch(bus.write_index):
            for register in self.map.values():
                if register.access is not Access.READ_ONLY and register.name not in self.absent:
                    waits = register.access in (Access.JOB, Access.TABLE)
                    with m.Case(register.offset // 4):
                        m.d.comb += bus.write_ok.eq(~self.busy if waits else 1)
        words: dict[str, Any] = {name: Const(word, 32) for name, word in self.identity.items()}
        words |= dict.fromkeys(self.absent, Const(0, 32)) | {register.name: Const(0, 32) for register in self.tables}
        words |= self._job_registers(m, bus)
        self._tables(m, bus)
        words |= self._control(m, bus, words) | self._counters(m)
        with m.Switch(bus.read_index):
            for register in self.map.values():
                with m.Case(register.offset // 4):
                    m.d.comb += [bus.read_ok.eq(1), bus.read_data.eq(words[register.name])]
        return m

    def _written(self, m: Module, bus: AxiLiteSubordinate, name: str) -> Value:
        """Bits of a register that are written in this cycle."""
        hit = Signal(name=f"write_{name}")
        m.d.comb += hit.eq(bus.write & bus.write_ok & (bus.write_index == self.map[name].offset // 4))
        return bus.write_mask & hit.replicate(32)

    def _job_registers(self, m: Module, bus: AxiLiteSubordinate) -> dict[str, Value]:
        words: dict[str, Value] = {}
        for register in self.job_registers:
            stored = [self.stored[field.name] for field in register.fields]
            word = Cat(stored)
            mask = self._written(m, bus, register.name)[: len(word)]
            m.d.sync += word.eq((word & ~mask) | (bus.write_data[: len(word)] & mask))
            m.d.comb += [getattr(self, f.name).eq(s) for f, s in zip(register.fields, stored, strict=True)]
            words[register.name] = word
        return words

    def _tables(self, m: Module, bus: AxiLiteSubordinate) -> None:
        for register in self.tables:
            mask = self._written(m, bus, register.name)
            m.d.comb += getattr(self, f"write_{register.name}").eq(mask.any())
        if self.tables:
            m.d.comb += self.table_data.eq(bus.write_data & bus.write_mask)
            with m.If(Cat(getattr(self, f"write_{register.name}") for register in self.tables).any()):
                m.d.sync += self.stored["table_index"].eq(self.stored["table_index"] + 1)

    def _commands(self, m: Module, bus: AxiLiteSubordinate, name: str) -> dict[str, Value]:
        """Fields of a register to which a 1 is written in this cycle."""
        ones = self._written(m, bus, name) & bus.write_data
        return {field.name: ones[field.low] for field in self.map[name].fields}

    def _control(self, m: Module, bus: AxiLiteSubordinate, words: dict[str, Any]) -> dict[str, Any]:
        command = self._commands(m, bus, "control")
        finished = Signal()
        valid_job = Signal()
        # A cycle lies between two writes, so that is in time for a start right after a change of the job.
        m.d.sync += valid_job.eq(self.valid_job(words))
        starting = Signal()
        m.d.comb += starting.eq(command["start"] & ~self.busy & valid_job)
        m.d.sync += self.start.eq(starting)
        with m.If(self.done):
            m.d.sync += [self.busy.eq(0), self.abort.eq(0), finished.eq(1)]
        with m.Elif(command["abort"] & self.busy):
            m.d.sync += self.abort.eq(1)
        with m.If(starting):
            m.d.sync += [self.busy.eq(1), finished.eq(0)]
        causes = {
            **{name: getattr(self, f"error_{name}") for name in self.errors},
            "shape": command["start"] & ~self.busy & ~valid_job,
            "not_ready": command["start"] & self.busy,
            "aborted": command["abort"] & self.busy & ~self.done,
        }
        clear = self._commands(m, bus, "errors")
        errors = {field.name: Signal(name=f"flag_{field.name}") for field in self.map["errors"].fields}
        for name, flag in errors.items():
            m.d.sync += flag.eq(causes[name] | (flag & ~clear[name]))
        return {"control": 0, "status": Cat(self.busy, finished), "errors": Cat(errors.values())}

    def _counters(self, m: Module) -> dict[str, Value]:
        words: dict[str, Value] = {}
        for name in ("cycles", *self.counters):
            counter = Signal(32, name=f"counter_{name}")
            with m.If(self.start):
                m.d.sync += counter.eq(0)
            with m.Elif(self.busy if name == "cycles" else self.busy & getattr(self, f"count_{name}")):
                m.d.sync += counter.eq(counter + 1)
            words[name] = counter
        return words
