"""What a case of the fuzz campaign is made of, and how Hypothesis draws it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flexnm_rtl.config import ConfigError
from hypothesis import strategies as st

PACKETS = ("good", "short", "early", "long", "endless")
"""short: ends before the last beat. early: TLAST before the last beat, and the rest is on offer behind it. long: beats
too many, TLAST on the last of them. endless: no TLAST, and often beats too many."""

KINDS = ("job", "refused", "registers", "abort", "starved", "reset", "reset_access", "bus_error", "outside")
"""job: a job with the step's packets and accesses. refused: a start with illegal registers. registers: accesses without
a job. abort: at some cycle of a job. starved: packets that stop, and an abort. reset: at some cycle of a job.
reset_access: in a register access. Of the decode engine alone: bus_error, SLVERR or DECERR in a read; outside, a region
that is too small."""

SHARES = (0, 60, 160, 220)
"""Probabilities of a pause, in 1/256."""


class FuzzError(AssertionError):
    """The engine did not do what it should, in one line."""


def check(good: bool, message: str) -> None:
    """Raise FuzzError with ``message`` unless ``good``."""
    if not good:
        raise FuzzError(message)


@dataclass(frozen=True)
class Meddle:
    """A register access: byte address of 8 bits, byte strobes, data."""

    write: bool
    address: int
    strobes: int
    data: int


@dataclass(frozen=True)
class Step:
    """Something bad and the good job after it, in numbers that runners take modulo what there is.

    data: seed of operands, waits and of what else is random in the step. mode: of the job. shape: tokens, channels,
    outputs. shares: of pauses of acts, weights (decode: read data), results, read requests; index into ``SHARES``.
    acts, weights: of ``PACKETS``. cut: where a packet ends, or by how much it is too long. at: cycle of abort, reset.
    """

    kind: str
    data: int
    mode: int
    shape: tuple[int, int, int]
    shares: tuple[int, int, int, int]
    acts: str = "good"
    weights: str = "good"
    cut: int = 0
    at: int = 0
    meddles: tuple[Meddle, ...] = ()

    def good(self) -> Step:
        """The good job that follows: other operands, the same pauses."""
        shape = (self.shape[1] ^ self.data & 0x1F, self.shape[2] ^ self.data & 0x3F, self.shape[0])
        return Step("job", self.data ^ 0x5EED, self.mode + self.cut, shape, self.shares)


def steps(kinds: tuple[str, ...], packets: tuple[str, ...] = PACKETS) -> st.SearchStrategy[list[Step]]:
    """Cases of an engine that knows ``kinds``: up to eight steps from power-up on."""
    size = st.integers(0, 255)
    # Most go to control, status, errors, the job registers and those of tables.
    meddle = st.builds(
        Meddle,
        write=st.booleans(),
        address=st.one_of(size, st.integers(0x10, 0x1C).map(lambda word: 4 * word), st.just(0x40)),
        strobes=st.one_of(st.just(15), st.integers(0, 15)),
        data=st.one_of(st.sampled_from([0, 1, 3, 0xFFFF_FFFF]), st.integers(0, (1 << 32) - 1)),
    )
    share = st.integers(0, len(SHARES) - 1)
    step = st.builds(
        Step,
        kind=st.sampled_from(kinds),
        data=st.integers(0, (1 << 32) - 1),
        mode=size,
        shape=st.tuples(size, size, size),
        shares=st.tuples(share, share, share, share),
        acts=st.sampled_from(packets),
        weights=st.sampled_from(packets),
        cut=size,
        at=st.integers(0, 1023),
        meddles=st.lists(meddle, max_size=5).map(tuple),
    )
    return st.lists(step, min_size=1, max_size=8)


def to_json(case: list[Step]) -> list[dict[str, Any]]:
    """Steps as JSON takes them."""
    return [dataclasses.asdict(step) for step in case]


def from_json(rows: Any) -> list[Step]:
    """The inverse of ``to_json``. Raises ConfigError for anything else."""
    try:
        return [_step(row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"this is no case of flexnm fuzz ({error}): name a file that it wrote") from None


def _step(row: Mapping[str, Any]) -> Step:
    step = Step(**{**row, "meddles": tuple(Meddle(**meddle) for meddle in row["meddles"])})
    if step.kind not in KINDS or step.acts not in PACKETS or step.weights not in PACKETS:
        raise ValueError(f"{step.kind} {step.acts} {step.weights}")
    t, k, o = map(int, step.shape)
    acts, weights, results, requests = map(int, step.shares)
    return dataclasses.replace(step, shape=(t, k, o), shares=(acts, weights, results, requests))
