"""Packets of the linear engine that are not as they should be, and what the engine must make of them."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from flexnm_model.packing import Bytes

from flexnm_tb.engine_jobs import Job


@dataclass(frozen=True)
class Traffics:
    """What is sent for a job: packets, whether they have TLAST, where it comes too early (bytes; 0: nowhere).

    errors: flags to expect.
    """

    acts: Bytes
    weights: Bytes
    acts_last: bool = True
    weights_last: bool = True
    act_end: int = 0
    weight_end: int = 0
    errors: frozenset[str] = frozenset()

    @property
    def left(self) -> tuple[int, int]:
        """Bytes of the packets that the engine must not take."""
        return (
            len(self.acts) - self.act_end if self.act_end else 0,
            len(self.weights) - self.weight_end if self.weight_end else 0,
        )


def spoil(job: Job, stream: str, kind: str, cut: int, rng: random.Random) -> tuple[Job, Traffics]:
    """The job as the engine must see it, and the packets to send, of which ``stream`` ("acts") is of ``kind``.

    A packet of one beat gets longer instead of shorter.
    """
    packet: Bytes = getattr(job, stream)
    beats = job.act_beats if stream == "acts" else job.weight_beats
    size = len(packet) // beats
    sent = Traffics(job.acts, job.weights)
    if kind in ("short", "early") and beats > 1:
        end = 1 + cut % (beats - 1)
        seen = (job.cut_acts if stream == "acts" else job.cut_weights)(end)
        early = f"{'act' if stream == 'acts' else 'weight'}_end"
        change: dict[str, Any] = {stream: packet[: end * size]} if kind == "short" else {early: end * size}
        return seen, dataclasses.replace(sent, errors=frozenset({f"{stream}_short"}), **change)
    if kind == "good":
        return job, sent
    more = cut % 12 * size if kind == "endless" else (1 + cut % 12) * size
    longer = np.concatenate([packet, np.frombuffer(rng.randbytes(more), dtype=np.uint8)])
    flags = frozenset({f"{stream}_long"})
    changes: dict[str, Any] = {stream: longer, f"{stream}_last": kind != "endless"}
    return job, dataclasses.replace(sent, errors=flags, **changes)
