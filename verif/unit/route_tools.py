"""The route from kept values to their weights, in plain Python: written for an element, read from a decoder."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from flexnm_rtl.compaction import Stage, network_of
from flexnm_rtl.config import Config
from flexnm_rtl.operands import has_network
from unit_tools import pack, unpack


def route_of(cfg: Config, channels: Sequence[int], rng: random.Random) -> int:
    """Leads lane k to ``channels[k]``, ascending; where no kept channel comes, multiplexers do anything."""
    offsets = [channel - position for position, channel in enumerate(channels)]
    if not has_network(cfg):
        return pack(offsets, cfg.offset_width)
    network = network_of(cfg)
    bits = []
    before = list(channels)
    for k, stage in enumerate(network.stages):
        whole = k == len(network.stages) - 1
        after = [c - (o if whole else o % (1 << network.low)) for c, o in zip(channels, offsets, strict=True)]
        assert len(set(after)) == len(after), "two channels meet"
        comes = dict(zip(after, before, strict=True))
        for place, sources in stage.items():
            if len(sources) > 1:
                bits += [comes.get(place, rng.choice(sources)) == source for source in sources]
        before = after
    return pack(bits, 1)


def channels_of(cfg: Config, route: int) -> list[int]:
    """Where a whole block's route leads its kept values."""
    if not has_network(cfg):
        return [k + offset for k, offset in enumerate(unpack(route, cfg.offset_width, cfg.n_keep, signed=False))]
    network = network_of(cfg)
    moves = iter(unpack(route, 1, network.move_count, signed=False))
    slots = [{channel} for channel in range(cfg.m_group)]
    for stage in network.stages:
        slots = _after(stage, slots, moves)
    return [channel for position in range(cfg.n_keep) for channel in slots[position]]


def _after(stage: Stage, slots: Sequence[set[int]], moves: Iterator[int]) -> list[set[int]]:
    """The channels whose or is in every place after a stage."""
    found: list[set[int]] = [set() for _ in slots]
    for place, sources in stage.items():
        taken = [source for source in sources if len(sources) == 1 or next(moves)]
        found[place] = set().union(*(slots[source] for source in taken))
    return found
