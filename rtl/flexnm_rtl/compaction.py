"""The kept channels of a block, moved side by side by a network of 2:1 multiplexers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Value

from flexnm_rtl.arith import named
from flexnm_rtl.config import Config


@dataclass(frozen=True)
class CompactionNetwork:
    """Brings the kept ones of ``m_group`` channels, ``n_keep`` at most, to the positions from 0 on, in their order.

    A kept channel has to move down by its distance: the number of dropped channels below it. Stage k moves those with
    bit k of their distance set, by ``2**k`` places, the lowest bit first; no two kept channels ever meet. (The order
    is that of Guy Steele's compress, in Warren: Hacker's Delight, 2nd edition, section 7-4.) In every place there is
    a channel, a kept or a dropped one, with its distance: that of the channel ``2**k`` places above says whether a
    place takes it or keeps its own. A dropped channel never says so where a kept one stays, so nothing needs to know
    which are kept.

    ``exact``: always ``n_keep`` are kept; else they may be fewer, and what comes to the positions behind them is
    unspecified. Only places that a kept channel can be in exist, and only those that can both take and keep have a
    multiplexer: 14 at 4:8, 42 at 8:16, 114 at 16:32, where a multiplexer for each position has 20, 72, 272 inputs.
    """

    n_keep: int
    m_group: int
    exact: bool = True

    @property
    def farthest(self) -> int:
        """The largest distance."""
        return self.m_group - (self.n_keep if self.exact else 1)

    @cached_property
    def stages(self) -> tuple[dict[int, tuple[int, ...]], ...]:
        """Of every stage its places, ascending, each with the places of the stage before that it can take from."""
        reached = [
            (channel, distance)
            for channel in range(self.m_group)
            for distance in range(min(channel, self.farthest) + 1)
            if channel - distance < self.n_keep
        ]
        stages = []
        for k in range(self.farthest.bit_length()):
            sources: dict[int, set[int]] = {}
            for channel, distance in reached:
                before, after = (channel - distance % (1 << bits) for bits in (k, k + 1))
                sources.setdefault(after, set()).add(before)
            stages.append({place: tuple(sorted(sources[place])) for place in sorted(sources)})
        return tuple(stages)

    @property
    def move_count(self) -> int:
        """Bits of ``moves``: one for each multiplexer, by stages, the lowest place first."""
        return sum(len(sources) == 2 for stage in self.stages for sources in stage.values())

    def moves(self, m: Module, distances: Sequence[Value], name: str) -> Value:
        """For each multiplexer whether it takes the channel above; from the distance of every channel.

        Of a dropped channel, too, the distance is the number of dropped ones below it.
        """
        slots: dict[int, Value] = dict(enumerate(distances))
        moves: list[Value] = []
        for k, stage in enumerate(self.stages):
            here = [self._bit(slots[sources[1]], k) for sources in stage.values() if len(sources) == 2]
            here = [named(m, bit, f"{name}_{k}_{i}") for i, bit in enumerate(here)]
            slots = self._stage(m, stage, slots, iter(here), f"{name}_distances_{k}")
            moves += here
        return Cat(moves)

    def moves_of_distances(self, m: Module, distances: Sequence[Value], name: str) -> Value:
        """``moves`` from the distances of the kept channels alone, one for each position; ``exact`` only.

        Back from the positions: a place hands its distance on to where it takes its channel from.
        """
        nowhere = Const(0, 1), Const(0, self.farthest.bit_length())
        after = {position: (Const(1, 1), Value.cast(distance)) for position, distance in enumerate(distances)}
        moves: list[list[Value]] = []
        for k, stage in reversed(list(enumerate(self.stages))):
            before: dict[int, tuple[Value, Value]] = {}
            here: list[Value] = []
            for place, sources in stage.items():
                full, distance = after.get(place, nowhere)
                moved = self._bit(distance, k)
                if len(sources) == 2:
                    moved = named(m, moved, f"{name}_{k}_{len(here)}")
                    here.append(moved)
                for source in sources:
                    comes = full if len(sources) == 1 else full & (moved if source > place else ~moved)
                    other, held = before.get(source, nowhere)
                    # The lower place of the two that a channel can come to was seen first.
                    before[source] = (other | comes, Mux(other, held, distance))
            after = {
                place: (named(m, full, f"{name}_full_{k}_{place}"), named(m, held, f"{name}_distance_{k}_{place}"))
                for place, (full, held) in before.items()
            }
            moves.insert(0, here)
        return Cat(bit for here in moves for bit in here)

    def apply(self, m: Module, channels: Sequence[Any], moves: Value, name: str) -> list[Value]:
        """What ``channels``, all of one width, have at the positions 0 .. N-1; unsigned."""
        slots = {place: Value.cast(channel) for place, channel in enumerate(channels)}
        bits = iter(moves)
        for k, stage in enumerate(self.stages):
            slots = self._stage(m, stage, slots, bits, f"{name}_{k}")
        return [slots[position] for position in range(self.n_keep)]

    def _stage(
        self, m: Module, stage: dict[int, tuple[int, ...]], slots: dict[int, Value], moves: Any, name: str
    ) -> dict[int, Value]:
        """All places after a stage."""
        return {
            place: named(m, Mux(next(moves), slots[sources[1]], slots[sources[0]]), f"{name}_{place}")
            if len(sources) == 2
            else slots[sources[0]]
            for place, sources in stage.items()
        }

    def _bit(self, distance: Value, k: int) -> Value:
        return distance[k] if k < len(distance) else Const(0, 1)


def network_of(cfg: Config) -> CompactionNetwork:
    """Of a block's kept channels; in a flexible unit they may be fewer than N."""
    return CompactionNetwork(cfg.n_keep, cfg.m_group, exact=not cfg.flexible)
