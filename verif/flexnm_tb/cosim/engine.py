"""The simulated engines: what is common, and the linear one as a back end of ``flexnm_model.driver``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from flexnm_model.driver import DeviceError
from flexnm_model.packing import Bytes
from flexnm_rtl.config import Config, ConfigError
from flexnm_rtl.registers import REGISTER_MAPS

from flexnm_tb.cosim.disturbance import NO_ANSWER, Access, Answer, Disturbance, DisturbanceStructure, Disturbed
from flexnm_tb.cosim.library import beat_bytes, build_library

PATIENCE = 1 << 20
REGISTER_PATIENCE = 1000


class _Job(ctypes.Structure):
    """``struct Job`` of linear.cpp."""

    _fields_ = [
        ("acts", ctypes.c_void_p),
        ("act_bytes", ctypes.c_uint64),
        ("weights", ctypes.c_void_p),
        ("weight_bytes", ctypes.c_uint64),
        ("results", ctypes.c_void_p),
        ("result_room", ctypes.c_uint64),
        ("patience", ctypes.c_uint64),
        ("acts_without_last", ctypes.c_uint32),
        ("weights_without_last", ctypes.c_uint32),
        ("share_acts", ctypes.c_uint32),
        ("share_weights", ctypes.c_uint32),
        ("share_results", ctypes.c_uint32),
        ("seed", ctypes.c_uint32),
        ("linger", ctypes.c_uint32),
        ("result_bytes", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("acts_left", ctypes.c_uint64),
        ("weights_left", ctypes.c_uint64),
        ("finished", ctypes.c_uint32),
        ("overrun", ctypes.c_uint32),
        ("extra", ctypes.POINTER(DisturbanceStructure)),
    ]


@dataclass(frozen=True)
class Traffic:
    """How the streams behave. share_*: probability, in 1/256, that an end pauses in a cycle.

    acts_last, weights_last: whether the packets end with TLAST. linger: cycles to go on after the last result.
    patience: cycles without a transfer after which the job is given up.
    """

    share_acts: int = 0
    share_weights: int = 0
    share_results: int = 0
    seed: int = 1
    acts_last: bool = True
    weights_last: bool = True
    linger: int = 0
    patience: int = PATIENCE


@dataclass(frozen=True)
class Outcome:
    """What came of a job's streams: the results' bytes, cycles from the first offer, bytes that were not taken."""

    results: Bytes
    cycles: int
    acts_left: int
    weights_left: int


class SimulatedUnit:
    """A Verilated engine with registers. Not for two threads at once; several run side by side, each in its thread.

    disturbance: of the next jobs, or None. With one no job raises DeviceError; ``disturbed`` says what came of it.
    """

    top: str

    def __init__(self, cfg: Config) -> None:
        """Build the library if need be and reset the engine. Raises VerilatorError."""
        self.cfg = cfg
        self.beats = beat_bytes(self.top, cfg)
        self._library = ctypes.CDLL(str(build_library(self.top, cfg)))
        self._library.flexnm_new.restype = ctypes.c_void_p
        self._library.flexnm_cycles.restype = ctypes.c_uint64
        self._handle = ctypes.c_void_p(self._library.flexnm_new())
        self.disturbance: Disturbance | None = None
        self.disturbed = Disturbed()

    def restart(self) -> None:
        """Another engine in place of this one, as after power-up."""
        self.close()
        self._handle = ctypes.c_void_p(self._library.flexnm_new())

    def script(self, accesses: Sequence[Access], stop: int = 0) -> Sequence[Answer]:
        """Register accesses while no stream moves. stop: see ``Disturbance``. DeviceError if one gets no answer."""
        plan = Disturbance(accesses, stop).structure()
        self._library.flexnm_script(self._handle, ctypes.byref(plan), ctypes.c_uint64(REGISTER_PATIENCE))
        self.disturbed = Disturbed.of(plan)
        if not stop and any(answer.response == NO_ANSWER for answer in self.disturbed.answers):
            raise DeviceError(f"a register access got no answer in {REGISTER_PATIENCE} cycles")
        return self.disturbed.answers

    def close(self) -> None:
        """Free the simulation."""
        if self._handle:
            self._library.flexnm_free(self._handle)
            self._handle = ctypes.c_void_p()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def cycles(self) -> int:
        """Clock cycles since the engine was made."""
        return int(self._library.flexnm_cycles(self._handle))

    def reset(self, cycles: int = 2) -> None:
        """Hold the reset for some cycles."""
        self._library.flexnm_reset(self._handle, ctypes.c_uint32(cycles))

    def write(self, offset: int, value: int) -> None:
        """Write a register. Raises DeviceError when the response is not OKAY."""
        response = self._library.flexnm_write(self._handle, offset, ctypes.c_uint32(value), 0xF)
        if response:
            raise DeviceError(f"write to register {offset:#x} was answered with {response:#04b}")

    def read(self, offset: int) -> int:
        """Read a register. Raises DeviceError when the response is not OKAY."""
        word = ctypes.c_uint32()
        response = self._library.flexnm_read(self._handle, offset, ctypes.byref(word))
        if response:
            raise DeviceError(f"read of register {offset:#x} was answered with {response:#04b}")
        return word.value

    def _run(self, job: Any, result_bytes: int) -> None:
        """Run the streams of a job. Raises DeviceError when it gets stuck or sends more than ``result_bytes``."""
        plan = self.disturbance.structure() if self.disturbance else None
        if plan is not None:
            job.extra = ctypes.pointer(plan)
        self._library.flexnm_run(self._handle, ctypes.byref(job))
        if plan is not None:
            self.disturbed = Disturbed.of(plan, finished=bool(job.finished), overrun=bool(job.overrun))
            return
        if not job.finished:
            registers = REGISTER_MAPS[self.top]
            errors = registers["errors"].decode(self.read(registers["errors"].offset))
            flags = ", ".join(name for name, value in errors.items() if value) or "no error flag"
            raise DeviceError(f"the job got stuck after {job.cycles} cycles, {job.result_bytes} bytes out ({flags})")
        if job.overrun:
            raise DeviceError(f"the result packet has {job.result_bytes} bytes, {result_bytes} were expected")

    def _whole_beats(self, name: str, data: Bytes, beat: str) -> Bytes:
        if len(data) % self.beats[beat]:
            raise ConfigError(f"{name} of {len(data)} bytes are not whole beats of {self.beats[beat]}")
        return np.ascontiguousarray(data)


class SimulatedEngine(SimulatedUnit):
    """The linear engine."""

    top = "linear"

    def __init__(self, cfg: Config) -> None:
        """See ``SimulatedUnit``."""
        super().__init__(cfg)
        self.traffic = Traffic()

    def toggle(self, act_beat: bytes, weight_beat: bytes, cycles: int) -> None:
        """Only clock, with one beat offered on each input and every result taken, and look at nothing."""
        self._library.flexnm_toggle(self._handle, act_beat, weight_beat, ctypes.c_uint64(cycles))

    def transfer(self, acts: Bytes, weights: Bytes, result_bytes: int) -> Bytes:
        """The streams of a started job; see ``stream``. Raises DeviceError when no whole result packet came."""
        return self.stream(acts, weights, result_bytes).results

    def stream(self, acts: Bytes, weights: Bytes, result_bytes: int) -> Outcome:
        """Send both packets and take the results, with the pauses of ``traffic``.

        Raises DeviceError when the job gets stuck or the result packet is longer than ``result_bytes``, and
        ConfigError for packets that are not whole beats.
        """
        acts = self._whole_beats("acts", acts, "ACT_BYTES")
        weights = self._whole_beats("weights", weights, "WEIGHT_BYTES")
        results = np.empty(result_bytes, dtype=np.uint8)
        t = self.traffic
        job = _Job(
            acts=acts.ctypes.data, act_bytes=len(acts), weights=weights.ctypes.data, weight_bytes=len(weights),
            results=results.ctypes.data, result_room=result_bytes, patience=t.patience,
            acts_without_last=not t.acts_last, weights_without_last=not t.weights_last, share_acts=t.share_acts,
            share_weights=t.share_weights, share_results=t.share_results, seed=t.seed, linger=t.linger,
        )  # fmt: skip
        self._run(job, result_bytes)
        return Outcome(results[: job.result_bytes], job.cycles, job.acts_left, job.weights_left)
