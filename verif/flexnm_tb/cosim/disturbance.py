"""What disturbs a job on a simulated engine: register accesses beside its streams, early TLAST, a stop on the way."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field

NO_ANSWER = 4
"""Response of an access that was not answered."""


class _Access(ctypes.Structure):
    """``struct Access`` of script.hpp."""

    _fields_ = [
        ("at", ctypes.c_uint64),
        ("write", ctypes.c_uint32),
        ("address", ctypes.c_uint32),
        ("data", ctypes.c_uint32),
        ("strobes", ctypes.c_uint32),
        ("wait_address", ctypes.c_uint32),
        ("wait_data", ctypes.c_uint32),
        ("wait_response", ctypes.c_uint32),
        ("response", ctypes.c_uint32),
        ("done", ctypes.c_uint64),
    ]


class DisturbanceStructure(ctypes.Structure):
    """``struct Disturbance`` of script.hpp."""

    _fields_ = [
        ("accesses", ctypes.POINTER(_Access)),
        ("count", ctypes.c_uint64),
        ("stop", ctypes.c_uint64),
        ("act_end", ctypes.c_uint64),
        ("weight_end", ctypes.c_uint64),
        ("hold", ctypes.c_uint32),
        ("broken", ctypes.c_uint32),
        ("finish", ctypes.c_uint64),
        ("bursts_left", ctypes.c_uint64),
    ]


@dataclass(frozen=True)
class Access:
    """A register access: any ``address`` of 8 bits, ``strobes`` one bit a byte, ``write`` or read.

    It begins ``at`` cycles after the script or later, when the one before it was answered. waits: cycles from there
    until address, data and readiness for the response come.
    """

    write: bool
    address: int
    data: int = 0
    strobes: int = 0xF
    at: int = 0
    waits: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Answer:
    """response: of AXI, or NO_ANSWER. data: of a read. done: cycle of the response from the script's begin."""

    response: int
    data: int
    done: int


@dataclass(frozen=True)
class Disturbance:
    """accesses: played beside the streams. stop: cycles after which everything ends, whatever is under way; 0: never.

    act_end, weight_end: bytes of the packet up to a beat with TLAST before the last one; 0: there is none.
    hold: no result is taken until the last access was answered, so that the job runs until then.
    """

    accesses: Sequence[Access] = ()
    stop: int = 0
    act_end: int = 0
    weight_end: int = 0
    hold: bool = False

    def structure(self) -> DisturbanceStructure:
        """For the C++ side; keeps what it points to."""
        rows = (_Access * len(self.accesses))()
        for row, a in zip(rows, self.accesses, strict=True):
            row.at, row.write, row.address, row.data, row.strobes = a.at, a.write, a.address, a.data, a.strobes
            row.wait_address, row.wait_data, row.wait_response = a.waits
            row.response = NO_ANSWER
        return DisturbanceStructure(
            accesses=ctypes.cast(rows, ctypes.POINTER(_Access)), count=len(rows), stop=self.stop,
            act_end=self.act_end, weight_end=self.weight_end, hold=self.hold,
        )  # fmt: skip


@dataclass(frozen=True)
class Disturbed:
    """What came of a disturbed job. finished: the last result was taken, ``finish`` cycles after the begin.

    broken: cycles in which an output changed or vanished before it was taken, or a result came after the last one.
    bursts_left: bursts of the decode engine whose data nobody took.
    """

    answers: Sequence[Answer] = field(default_factory=list)
    finished: bool = False
    overrun: bool = False
    finish: int = 0
    broken: int = 0
    bursts_left: int = 0

    @classmethod
    def of(cls, done: DisturbanceStructure, *, finished: bool = False, overrun: bool = False) -> Disturbed:
        """From the C++ side."""
        answers = [Answer(row.response, row.data, row.done) for row in done.accesses[: done.count]]
        return cls(answers, finished, overrun, done.finish, done.broken, done.bursts_left)
