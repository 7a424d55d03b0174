"""The route from kept values to their weights, in plain Python: written for an element, read from a decoder."""

from __future__ import annotations

import random
from collections.abc import Sequence

from flexnm_rtl.compaction import network_of
from flexnm_rtl.config import Config
from flexnm_rtl.operands import has_network
from unit_tools import pack, unpack


def route_of(cfg: Config, channels: Sequence[int], rng: random.Random) -> int:
    """Leads lane k to ``channels[k]``, ascending; where no kept channel comes, multiplexers do anything."""
    offsets = [channel - position for position, channel in enumerate(channels)]
    if not has_network(cfg):
        return pack(offsets, cfg.offset_width)
    bits = []
    for k, stage in enumerate(network_of(cfg).stages):
        places = {
            channel - offset % (1 << k): offset >> k & 1 for channel, offset in zip(channels, offsets, strict=True)
        }
        for sources in stage.values():
            if len(sources) == 2:
                keeps, takes = places.get(sources[0]) == 0, places.get(sources[1]) == 1
                assert not (keeps and takes), "two channels meet"
                bits.append(takes or (not keeps and rng.random() < 0.5))
    return pack(bits, 1)


def channels_of(cfg: Config, route: int) -> list[int]:
    """Where a whole block's route leads its kept values."""
    if not has_network(cfg):
        return [k + offset for k, offset in enumerate(unpack(route, cfg.offset_width, cfg.n_keep, signed=False))]
    network = network_of(cfg)
    moves = iter(unpack(route, 1, network.move_count, signed=False))
    slots = {channel: channel for channel in range(cfg.m_group)}
    for stage in network.stages:
        slots = {place: slots[sources[next(moves) if len(sources) == 2 else 0]] for place, sources in stage.items()}
    return [slots[position] for position in range(cfg.n_keep)]
