"""The simulated decode engine with its memory, as a back end of ``flexnm_model.decode_driver``."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from flexnm_model.packing import Bytes
from flexnm_rtl.config import Config

from flexnm_tb.cosim.disturbance import DisturbanceStructure
from flexnm_tb.cosim.engine import PATIENCE, SimulatedUnit


class _DecodeJob(ctypes.Structure):
    """``struct DecodeJob`` of decode.cpp."""

    _fields_ = [
        ("acts", ctypes.c_void_p),
        ("act_bytes", ctypes.c_uint64),
        ("memory", ctypes.c_void_p),
        ("memory_bytes", ctypes.c_uint64),
        ("base", ctypes.c_uint64),
        ("results", ctypes.c_void_p),
        ("result_room", ctypes.c_uint64),
        ("error_from", ctypes.c_uint64),
        ("error_to", ctypes.c_uint64),
        ("patience", ctypes.c_uint64),
        ("latency", ctypes.c_uint32),
        ("most", ctypes.c_uint32),
        ("share_acts", ctypes.c_uint32),
        ("share_requests", ctypes.c_uint32),
        ("share_data", ctypes.c_uint32),
        ("share_results", ctypes.c_uint32),
        ("seed", ctypes.c_uint32),
        ("acts_without_last", ctypes.c_uint32),
        ("linger", ctypes.c_uint32),
        ("result_bytes", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("acts_left", ctypes.c_uint64),
        ("bursts", ctypes.c_uint64),
        ("beats", ctypes.c_uint64),
        ("busy_beats", ctypes.c_uint64),
        ("finished", ctypes.c_uint32),
        ("overrun", ctypes.c_uint32),
        ("outside", ctypes.c_uint32),
        ("crossed", ctypes.c_uint32),
        ("error_response", ctypes.c_uint32),
        ("extra", ctypes.POINTER(DisturbanceStructure)),
    ]


@dataclass(frozen=True)
class MemoryTraffic:
    """How memory and streams behave.

    latency: cycles from taking a burst's address to its first beat. most: bursts the memory holds. share_*:
    probability, in 1/256, that an end pauses in a cycle. errors: addresses, from and to, answered with
    ``error_response``, SLVERR (2) or DECERR (3).
    acts_last, linger, patience: see ``engine.Traffic``.
    """

    latency: int = 40
    most: int = 16
    share_acts: int = 0
    share_requests: int = 0
    share_data: int = 0
    share_results: int = 0
    seed: int = 1
    errors: tuple[int, int] = (0, 0)
    error_response: int = 2
    acts_last: bool = True
    linger: int = 0
    patience: int = PATIENCE


@dataclass(frozen=True)
class Reads:
    """What the memory saw in a job: bursts, beats, cycles from the first beat to the last one.

    outside: a beat was not in the memory. crossed: a burst crossed a 4 KB boundary. cycles: of the whole job.
    """

    bursts: int
    beats: int
    span: int
    outside: bool
    crossed: bool
    cycles: int
    acts_left: int


class SimulatedDecoder(SimulatedUnit):
    """The decode engine and a memory that holds the weights."""

    top = "decode"

    def __init__(self, cfg: Config) -> None:
        """See ``SimulatedUnit``."""
        super().__init__(cfg)
        self.traffic = MemoryTraffic()
        self.reads: Reads | None = None
        self._base, self._memory = 0, np.zeros(0, dtype=np.uint8)

    def load(self, base: int, data: Bytes) -> None:
        """Make ``data`` the memory from address ``base`` on; kept, not copied."""
        self._base, self._memory = base, np.ascontiguousarray(data)

    def transfer(self, acts: Bytes, result_bytes: int) -> Bytes:
        """Send the packet of a started job and take the results; ``reads`` says what the memory saw.

        Raises DeviceError when the job gets stuck or sends more than ``result_bytes``, and ConfigError for a packet
        that is not whole beats.
        """
        acts = self._whole_beats("acts", acts, "ACT_BYTES")
        results = np.empty(result_bytes, dtype=np.uint8)
        t = self.traffic
        job = _DecodeJob(
            acts=acts.ctypes.data, act_bytes=len(acts), memory=self._memory.ctypes.data,
            memory_bytes=len(self._memory), base=self._base, results=results.ctypes.data, result_room=result_bytes,
            error_from=t.errors[0], error_to=t.errors[1], patience=t.patience, latency=t.latency, most=t.most,
            share_acts=t.share_acts, share_requests=t.share_requests, share_data=t.share_data,
            share_results=t.share_results, seed=t.seed, acts_without_last=not t.acts_last, linger=t.linger,
            error_response=t.error_response,
        )  # fmt: skip
        self._run(job, result_bytes)
        self.reads = Reads(
            job.bursts, job.beats, job.busy_beats, bool(job.outside), bool(job.crossed), job.cycles, job.acts_left
        )
        return results[: job.result_bytes]
