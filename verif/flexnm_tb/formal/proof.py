"""A claim about the RTL, and the circuit whose assertions say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockDomain, Elaboratable, Fragment, Module, Signal, Value
from flexnm_rtl.config import ConfigError

PROVE, BMC, COVER = "prove", "bmc", "cover"
MODES = (PROVE, BMC, COVER)
PASS, FAIL = "pass", "fail"

FORWARD = "abc scleanup; retime -M 1; strash; collapse; strash; pdr"
"""Engine for pipelines that always move: ABC moves the registers forward, builds canonical forms (BDDs) of what is in
front of them, and pdr finds the result. Sums of many bits, which a search gets lost in, have small canonical forms."""


class Circuit(Elaboratable):
    """A circuit with free inputs, described by a function of the module and this object.

    ``ports``: its free inputs, known once it is elaborated.
    """

    def __init__(self, describe: Callable[[Module, Circuit], None]) -> None:
        self.describe = describe
        self.ports: list[Signal] = []

    def elaborate(self, platform: object) -> Module:
        """The module that the function fills."""
        m = Module()
        self.describe(m, self)
        return m

    def free(self, shape: Any, name: str) -> Any:
        """A value that may be another one in every cycle."""
        signal = Signal(shape, name=name)
        self.ports.append(Value.cast(signal))
        return signal

    def constant(self, m: Module, shape: Any, name: str) -> Any:
        """A value that is free, and the same in all cycles."""
        signal = self.free(shape, name)
        before, started = Signal(shape, name=f"{name}_before"), Signal(name=f"{name}_started")
        m.d.sync += [Value.cast(before).eq(Value.cast(signal)), started.eq(1)]
        m.d.comb += Assume(~started | (Value.cast(before) == Value.cast(signal)))
        return signal


def check(m: Module, name: str, condition: Any) -> None:
    """Assert a condition; in a trace it is the signal ``holds_NAME``."""
    holds = Signal(name=f"holds_{name}")
    m.d.comb += [holds.eq(condition), Assert(holds)]


@dataclass(frozen=True)
class Proof:
    """What SymbiYosys is to show.

    name: ``group/what/pattern/property``, unique. claim: the statement, one sentence in plain words, that says how it
    is proved. build: makes the circuit: an Amaranth module with ``Assert``, ``Assume`` and ``Cover`` of
    ``amaranth.hdl``, at best a ``Circuit``. Free are the inputs of a ``wiring.Component``, or the signals in the list
    ``ports`` of another ``Elaboratable``. It runs in the domain ``sync``, from the initial values of all registers on;
    there is no reset, unless the circuit makes one (``ResetInserter``).
    mode: ``prove``: in every state that can be reached. ``bmc``: within ``depth`` cycles. ``cover``: every ``Cover`` is
    reached within ``depth`` cycles.
    engine: line of the section ``[engines]``: ``smtbmc z3``, ``abc pdr``, ``FORWARD``. depth: steps of the induction,
    or cycles.
    expect: ``fail`` where the claim is that the check goes red.
    """

    name: str
    claim: str
    build: Callable[[], Elaboratable]
    mode: str = PROVE
    engine: str = "smtbmc z3"
    depth: int = 2
    expect: str = PASS

    def __post_init__(self) -> None:
        """Raises ConfigError when the mode, the depth or what is expected is unknown."""
        if self.mode not in MODES:
            raise ConfigError(f"{self.name}: mode {self.mode} is unknown: choose one of {', '.join(MODES)}")
        if self.depth < 1:
            raise ConfigError(f"{self.name}: depth {self.depth} is out of range: it must be at least 1")
        if self.expect not in (PASS, FAIL):
            raise ConfigError(f"{self.name}: {self.expect} cannot be expected: choose {PASS} or {FAIL}")

    def rtlil(self) -> str:
        """The circuit for Yosys, its top module ``top``; the same text every time (no source positions)."""
        design: Any = self.build()
        clock = ClockDomain("sync", reset_less=True)
        fragment = Fragment.get(_Clocked(design, clock), None)
        if hasattr(design, "signature"):
            ports = [value for _, _, value in design.signature.flatten(design)]
        else:
            ports = getattr(design, "ports", [])
        text: str = rtlil.convert(fragment, ports=[clock.clk, *ports], emit_src=False)
        return text

    def question(self, timeout: int | None) -> str:
        """The file for SymbiYosys. timeout: seconds."""
        options = [f"mode {self.mode}", f"depth {self.depth}", f"expect {self.expect}"]
        if self.mode != COVER:
            options.append("aigsmt z3")
        if timeout is not None:
            options.append(f"timeout {timeout}")
        sections = {
            "options": options,
            "engines": [self.engine],
            "script": ["read_rtlil design.il", "prep -top top"],
            "files": ["design.il"],
        }
        return "\n".join("\n".join([f"[{name}]", *lines, ""]) for name, lines in sections.items())


class _Clocked(Elaboratable):
    """The circuit with its clock and without a reset."""

    def __init__(self, design: Any, clock: ClockDomain) -> None:
        self.design = design
        self.clock = clock

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = self.clock
        m.submodules.design = self.design
        return m
