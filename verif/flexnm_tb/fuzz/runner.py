"""What runs the steps of a case on either engine."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from flexnm_rtl.config import Config
from flexnm_rtl.registers import Access as Kind
from flexnm_rtl.registers import RegisterMap

from flexnm_tb.cosim.disturbance import Access, Answer
from flexnm_tb.cosim.engine import SimulatedUnit
from flexnm_tb.fuzz.case import KINDS, FuzzError, Meddle, Step, check
from flexnm_tb.fuzz.register_state import RegisterState

PATIENCE = 20_000
"""Cycles without any transfer after which a job hangs."""


class Runner(ABC):
    """An engine and the model of its registers. ``counts``: steps by what was bad in them, and ``jobs``, ``good``."""

    kinds: tuple[str, ...] = KINDS

    def __init__(self, cfg: Config, unit: SimulatedUnit, registers: RegisterMap, absent: Collection[str]) -> None:
        self.cfg, self.unit, self.map = cfg, unit, registers
        self.state = RegisterState(registers, absent)
        dynamic = ("status", "errors")
        self.state.constants = {
            name: unit.read(register.offset)
            for name, register in registers.items()
            if register.access is Kind.READ_ONLY and register.offset < registers["control"].offset
            if name not in dynamic
        }
        self.counts: Counter[str] = Counter()
        self.open_packet = False  # one without TLAST: what comes before the next start belongs to it
        self.rng = random.Random(0)

    def run(self, case: Sequence[Step]) -> None:
        """All steps from power-up on, each followed by a good job. Raises FuzzError."""
        self.unit.restart()
        self.state.reset()
        self.open_packet = False
        for number, step in enumerate(case, 1):
            for part, what in ((step, step.kind), (step.good(), "the good job after it")):
                self.rng = random.Random(part.data)
                try:
                    self._perform(part)
                except FuzzError as error:
                    raise FuzzError(f"step {number} ({step.kind}), {what}: {error}") from None
            self.counts["good"] += 1
            self.counts["steps"] += 1

    def _perform(self, step: Step) -> None:
        actions: Mapping[str, Callable[[Step], None]] = {
            "registers": self._registers,
            "reset_access": self._reset_access,
        }
        if step.kind in actions:
            actions[step.kind](step)
        else:
            self.counts["jobs"] += 1
            self._job(step)

    @abstractmethod
    def _job(self, step: Step) -> None:
        """A step of any other kind."""

    # ---- registers ----

    def waits(self) -> tuple[int, int, int]:
        """Of an access: often none."""
        return (0, 0, 0) if self.rng.random() < 0.5 else tuple(self.rng.choice([0, 1, 3, 6]) for _ in range(3))  # type: ignore[return-value]

    def meddles(self, meddles: Iterable[Meddle], *, busy: bool) -> list[Access]:
        """The accesses of a step, without those that would start or abort a job by chance."""
        raw = [Access(m.write, m.address, m.data, m.strobes, waits=self.waits()) for m in meddles]
        return [self.state.tame(access, busy=busy) for access in raw]

    def expect(self, accesses: Sequence[Access], answers: Sequence[Answer], *, busy: bool) -> None:
        """Check answers and count what was bad."""
        for access, answer in zip(accesses, answers, strict=True):
            if bad := self.state.expect(access, answer, busy=busy):
                self.counts[bad] += 1

    def play(self, accesses: Sequence[Access]) -> None:
        """Accesses while no job runs."""
        answers = self.unit.script(accesses)
        check(not self.unit.disturbed.broken, "a response changed or vanished before it was taken")
        self.expect(accesses, answers, busy=False)

    def write(self, name: str, word: int) -> Access:
        """A whole write."""
        return Access(True, self.map[name].offset, word, waits=self.waits())

    def start(self, **flags: int) -> Access:
        """A write of ``control``: start, if nothing else is named."""
        return self.write("control", self.map["control"].encode(**flags or {"start": 1}))

    def flags(self) -> set[str]:
        """The error flags that are set."""
        word = self.unit.read(self.map["errors"].offset)
        return {name for name, value in self.map["errors"].decode(word).items() if value}

    def settled(self, errors: Collection[str], *, done: bool) -> None:
        """No job runs; exactly these flags are set."""
        got = self.flags()
        check(got == set(errors), f"error flags {sorted(got)}, not {sorted(errors)}")
        self.state.errors = self.map["errors"].encode(**dict.fromkeys(errors, 1))
        self.state.done = done
        status = self.unit.read(self.map["status"].offset)
        check(status == self.state.status, f"status {status:#x}, not {self.state.status:#x}")

    def counters(self) -> dict[str, int]:
        """The counters of the last job, which from now on must stay."""
        names = [name for name, register in self.map.items() if register.offset >= self.map["cycles"].offset]
        self.state.counters = {name: self.unit.read(self.map[name].offset) for name in names}
        return self.state.counters

    def prepare(self, words: Mapping[str, int]) -> None:
        """Write the job registers, clear the flags."""
        self.play([self.write(name, word) for name, word in words.items()] + [self.write("errors", 0xFFFF_FFFF)])

    def _registers(self, step: Step) -> None:
        self.play(self.meddles(step.meddles, busy=False))

    # ---- reset ----

    def reset(self, step: Step) -> None:
        """Reset, after which everything is as after power-up."""
        self.unit.reset(1 + step.cut % 3)
        self.state.reset()
        self.open_packet = False
        for name in (*self.state.words, *self.state.counters, "status", "errors"):
            word = self.unit.read(self.map[name].offset)
            check(word == 0, f"{name} is {word:#x} after a reset")

    def _reset_access(self, step: Step) -> None:
        accesses = [Access(m.write, m.address, m.data, m.strobes, waits=(m.data % 4, m.data // 4 % 4, 2))
                    for m in step.meddles]  # fmt: skip
        self.unit.script([self.state.tame(access, busy=False) for access in accesses], stop=1 + step.at % 8)
        self.counts["reset in a register access"] += 1
        self.reset(step)
