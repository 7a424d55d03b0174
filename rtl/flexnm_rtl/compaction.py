"""The kept channels of a block, moved side by side by a network of shared multiplexers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Value

from flexnm_rtl.arith import any_of, gate, named
from flexnm_rtl.config import Config

Stage = dict[int, tuple[int, ...]]
"""Places, ascending, each with the places of the stage before that it can take from, ascending."""

Slots = dict[int, tuple[Value, Value]]
"""Of every place whether a kept channel is there, and its distance."""


@dataclass(frozen=True)
class CompactionNetwork:
    """Brings the kept ones of ``m_group`` channels, ``n_keep`` at most, to the positions from 0 on, in their order.

    A kept channel has to move down by its distance, the number of dropped channels below it. The distance is split
    into a low digit of ``low`` bits and the rest: a first stage moves by the one, a second stage by ``2**low`` times
    the other. Kept channels never meet: the distances of two of them differ by less than the channels do, and the
    moves of a stage by no more than the distances. Nor does a channel take its distance along: the one that comes from
    s places above has the low digit s, and at most s channels are dropped in between, so the rest of its distance is
    that of the channel that the place began with. (With a stage for each bit this is Guy Steele's compress, in
    Warren: Hacker's Delight, 2nd edition, section 7-4.) ``low`` = 0: one stage, an (M-N+1):1 multiplexer a position.

    A multiplexer is an and-or of one ``move`` bit an input. Places that no kept channel can reach do not exist, nor do
    inputs; a place with one input has no multiplexer. ``low`` is chosen for the fewest inputs in all: one stage with 6
    at 2:4 and 20 at 4:8, two with 68 in place of 72 at 8:16, with 192 in place of 272 at 16:32.
    ``exact``: always ``n_keep`` are kept; else they may be fewer, and 0 comes to the positions behind them.
    ``deep``: two stages are allowed.
    """

    n_keep: int
    m_group: int
    exact: bool = True
    deep: bool = True

    @property
    def farthest(self) -> int:
        """The largest distance."""
        return self.m_group - (self.n_keep if self.exact else 1)

    @cached_property
    def low(self) -> int:
        """Bits of the low digit, 0 where one stage is best."""
        bits = range(self.farthest.bit_length() if self.deep else 1)
        return min(bits, key=lambda low: (self._inputs(self._stages_of(low)), low))

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One or two; none where nothing moves."""
        return self._stages_of(self.low) if self.farthest else ()

    @property
    def move_count(self) -> int:
        """Bits of ``moves``: one for each input of a multiplexer, by stages, places and sources, the lowest first."""
        return self._inputs(self.stages)

    def moves(self, m: Module, mask: Value, distances: Sequence[Value], name: str) -> Value:
        """From the channels that are kept, and of each channel the number of dropped ones below it."""
        there = dict(enumerate(mask))
        moves: list[Value] = []
        for k, stage in enumerate(self.stages):
            after: dict[int, Value] = {}
            for place, sources in stage.items():
                here = [
                    named(
                        m,
                        there[source] & self._goes(k, distances[source], source - place),
                        f"{name}_{k}_{place}_{source - place}",
                    )
                    for source in sources
                ]
                moves += here if self._multiplexed(sources, last=self._is_last(k)) else []
                after[place] = named(m, any_of(here), f"{name}_full_{k}_{place}")
            there = after
        return Cat(moves)

    def moves_of_distances(self, m: Module, distances: Sequence[Value], name: str) -> Value:
        """The same from the distances of the kept channels alone, one for each position; ``exact`` only.

        Back from the positions: a place hands its distance on to where it takes its channel from.
        """
        slots: Slots = {position: (Const(1, 1), Value.cast(distance)) for position, distance in enumerate(distances)}
        moves: list[Value] = []
        for k, stage in reversed(list(enumerate(self.stages))):
            before: dict[int, list[tuple[Value, Value]]] = {}
            here: list[Value] = []
            for place, sources in stage.items():
                there, distance = slots.get(place, (Const(0, 1), Const(0, 1)))
                for source in sources:
                    hit = named(
                        m, there & self._goes(k, distance, source - place), f"{name}_{k}_{place}_{source - place}"
                    )
                    before.setdefault(source, []).append((hit, gate(hit, distance)))
                    here += [hit] if self._multiplexed(sources, last=self._is_last(k)) else []
            slots = {}
            for source, hits in before.items():
                there, held = any_of([hit for hit, _ in hits]), any_of([distance for _, distance in hits])
                full = named(m, there, f"{name}_full_{k}_{source}")
                slots[source] = (full, named(m, held, f"{name}_distance_{k}_{source}"))
            moves[:0] = here
        return Cat(moves)

    def apply(self, m: Module, channels: Sequence[Any], moves: Value, name: str) -> list[Value]:
        """What ``channels``, all of one width, have at the positions 0 .. N-1; unsigned."""
        slots: dict[int, Value] = {place: Value.cast(channel) for place, channel in enumerate(channels)}
        bits: Iterator[Value] = iter(named(m, moves, f"{name}_moves"))
        for k, stage in enumerate(self.stages):
            slots = {
                place: named(m, any_of([gate(next(bits), slots[source]) for source in sources]), f"{name}_{k}_{place}")
                if self._multiplexed(sources, last=self._is_last(k))
                else slots[sources[0]]
                for place, sources in stage.items()
            }
        return [slots[position] for position in range(self.n_keep)]

    def _stages_of(self, low: int) -> tuple[Stage, ...]:
        """With a low digit of so many bits."""
        reached = [
            (channel, distance)
            for channel in range(self.m_group)
            for distance in range(min(channel, self.farthest) + 1)
            if channel - distance < self.n_keep
        ]
        bits = [0, low, self.farthest.bit_length()] if low else [0, self.farthest.bit_length()]
        stages = []
        for done, then in pairwise(bits):
            sources: dict[int, set[int]] = {}
            for channel, distance in reached:
                sources.setdefault(channel - distance % (1 << then), set()).add(channel - distance % (1 << done))
            stages.append({place: tuple(sorted(sources[place])) for place in sorted(sources)})
        return tuple(stages)

    def _inputs(self, stages: Sequence[Stage]) -> int:
        last = len(stages) - 1
        return sum(
            len(sources)
            for k, stage in enumerate(stages)
            for sources in stage.values()
            if self._multiplexed(sources, last=k == last)
        )

    def _multiplexed(self, sources: tuple[int, ...], *, last: bool) -> bool:
        """With fewer than N kept, the last stage has to bring zeros too."""
        return len(sources) > 1 or (last and not self.exact)

    def _is_last(self, k: int) -> bool:
        return k == len(self.stages) - 1

    def _goes(self, k: int, distance: Value, by: int) -> Value:
        """At stage k, a channel with this distance left moves by so many places."""
        shift = self.low if k else 0
        digit = distance[shift:] if self._is_last(k) else distance[: self.low]
        return digit == by >> shift


def network_of(cfg: Config) -> CompactionNetwork:
    """Of a block's kept channels; in a flexible unit they may be fewer than N.

    With ``short_stages`` it is on the slowest path of a design for FPGAs: there two stages took more lookup tables.
    """
    return CompactionNetwork(cfg.n_keep, cfg.m_group, exact=not cfg.flexible, deep=not cfg.short_stages)
