"""Sequencer: joins, steps, token groups and the wait for results, read off a log of every cycle."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from flexnm_rtl.sequencer import Sequencer
from unit_tools import simulate

LATENCY = 2


@dataclass
class Log:
    """Cycles of each event; ``multiply`` also has the beat and the step."""

    load: list[int] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    multiply: list[tuple[int, int, int]] = field(default_factory=list)
    accumulate: list[tuple[int, bool]] = field(default_factory=list)
    capture: list[int] = field(default_factory=list)
    drained: list[int] = field(default_factory=list)


def run_sequencer(
    steps: int, beats: list[tuple[bool, bool]], *, offer: float = 1.0, drain: tuple[int, int] = (1, 1), seed: int = 0
) -> Log:
    """Feed ``beats`` (hold, last). Results leave ``drain`` = (least, most) cycles after their capture."""
    seq = Sequencer(steps, LATENCY)
    rng = random.Random(seed)
    log = Log()
    groups = sum(last and not hold for hold, last in beats)

    async def bench(ctx: Any) -> None:
        acts = weights = False
        taken, step = 0, steps
        leaves: int | None = None
        for cycle in range(2000 + len(beats) * (steps + drain[1] + 10)):
            more = taken < len(beats)
            acts = more and (acts or rng.random() < offer)
            weights = more and (weights or rng.random() < offer)
            hold, last = beats[taken] if acts else (rng.random() < 0.5, rng.random() < 0.5)
            for port, value in ((seq.acts_valid, acts), (seq.weights_valid, weights), (seq.hold, hold),
                                (seq.last, last), (seq.drained, cycle == leaves)):  # fmt: skip
                ctx.set(port, value)
            if cycle == leaves:
                log.drained.append(cycle)
                leaves = None
            if ctx.get(seq.capture):
                assert leaves is None, "captured over results that have not left"
                log.capture.append(cycle)
                leaves = cycle + rng.randint(*drain)
            if ctx.get(seq.accumulate):
                log.accumulate.append((cycle, bool(ctx.get(seq.clear))))
            multiply = ctx.get(seq.multiply)
            assert ctx.get(seq.shift) == multiply
            if multiply:
                assert step < steps, "more steps than the beat has"
                log.multiply.append((cycle, taken - 1, step))
                step += 1
            acts_taken = acts and bool(ctx.get(seq.acts_ready))
            weights_taken = weights and bool(ctx.get(seq.weights_ready))
            assert ctx.get(seq.load) == acts_taken
            assert weights_taken == (acts_taken and not hold), "weights are taken with the last beat they belong to"
            if acts_taken:
                assert step == steps, "a beat came before the last step of the one before"
                log.load.append(cycle)
                taken, step, acts = taken + 1, 0, False
                if weights_taken:
                    log.weights.append(cycle)
                    weights = False
            await ctx.tick()
            if len(log.drained) == groups and taken == len(beats) and len(log.multiply) == steps * taken:
                break

    simulate(seq, bench)
    check(steps, beats, log)
    return log


def check(steps: int, beats: list[tuple[bool, bool]], log: Log) -> None:
    """What holds under any stalls."""
    assert len(log.load) == len(beats)
    assert len(log.weights) == sum(not hold for hold, _ in beats)
    assert [(b, s) for _, b, s in log.multiply] == [(b, s) for b in range(len(beats)) for s in range(steps)]
    ends = [last and not hold for hold, last in beats]
    starts = [True, *ends[:-1]]
    assert log.accumulate == [(c + 1, starts[b] and s == 0) for c, b, s in log.multiply]
    finals = [c for c, b, s in log.multiply if ends[b] and s == steps - 1]
    assert log.capture == [c + LATENCY for c in finals]
    for left, following in zip(log.drained, finals[1:], strict=False):
        assert following > left, "a group ended before the results of the one before had left"


def random_beats(count: int, seed: int) -> list[tuple[bool, bool]]:
    rng = random.Random(seed)
    return [*((rng.random() < 0.4, rng.random() < 0.4) for _ in range(count - 1)), (False, True)]


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
@pytest.mark.parametrize("offer, drain", [(1.0, (1, 1)), (0.5, (1, 4)), (0.9, (1, 30)), (0.3, (20, 20))])
def test_any_stalls(steps: int, offer: float, drain: tuple[int, int]) -> None:
    for seed in range(3):
        run_sequencer(steps, random_beats(60, seed), offer=offer, drain=drain, seed=seed)


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_no_bubble_between_beats_and_groups_while_results_leave_in_time(steps: int) -> None:
    rows = 4
    long_group = -(-(rows + LATENCY + 2) // steps)  # the documented minimum: rows + group_overhead cycles
    beats = [(False, k % long_group == long_group - 1) for k in range(6 * long_group)]
    log = run_sequencer(steps, beats, drain=(rows, rows))
    assert [c for c, _, _ in log.multiply] == list(range(1, 1 + steps * len(beats)))
    assert log.load == list(range(0, steps * len(beats), steps))


@pytest.mark.parametrize("steps", [1, 4])
def test_a_group_ends_in_the_cycle_after_the_results_leave(steps: int) -> None:
    log = run_sequencer(steps, [(False, True)] * 5, drain=(25, 25))
    finals = [c for c, _, s in log.multiply if s == steps - 1]
    assert finals[1:] == [cycle + 1 for cycle in log.drained[:-1]]


def test_hold_hides_last() -> None:
    log = run_sequencer(2, [(True, True), (True, False), (False, True), (False, True)])
    assert len(log.capture) == 2
    assert [clear for _, clear in log.accumulate] == [True, *[False] * 5, True, False]
