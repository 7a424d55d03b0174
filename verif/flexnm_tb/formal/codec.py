"""The enumerative codec: ranks are 0 .. C(M, N) - 1, one for each mask, and the decoder finds the mask again.

The decoder takes the kept channels from the highest down. Of a rank that is the share of channel c at position p plus
the rank of lower channels, it must take off the share of c: that is one step, for each position and all ranks.
"""

from __future__ import annotations

import math
from functools import partial

from amaranth.hdl import Assume, Cat, Const, Fragment, Module, Signal, Value
from flexnm_rtl.config import Config
from flexnm_rtl.enumerative import RankDecoder, RankEncoder, rank_bits

from flexnm_tb.formal.codec_encoder import PATTERNS, WHOLE_SUM, config_of, table
from flexnm_tb.formal.proof import FORWARD, Circuit, Proof, check
from flexnm_tb.formal.rules import bare, history, named, population, settled

DIRECT = 8
"""Largest M for which encoder and decoder are one question."""


def _round_trip(n: int, channels: int) -> Circuit:
    """Encoder, then decoder."""

    def describe(m: Module, c: Circuit) -> None:
        cfg = config_of(n, channels)
        m.submodules.encoder = encoder = RankEncoder(cfg)
        m.submodules.decoder = decoder = RankDecoder(cfg)
        mask = c.free(channels, "mask")
        m.d.comb += [
            Assume(population(mask) == n),
            encoder.mask.eq(mask),
            encoder.enable.eq(-1),
            decoder.word.eq(encoder.word),
            decoder.enable.eq(-1),
        ]
        check(m, "range", ~settled(m, encoder.latency) | (encoder.word < math.comb(channels, n)))
        cycles = encoder.latency + decoder.latency
        check(m, "same", ~settled(m, cycles) | (decoder.mask == history(m, mask, cycles, "mask")))

    return Circuit(describe)


def _step(n: int, channels: int, position: int) -> Circuit:
    """A channel and the rank of lower ones, both free, as the decoder sees them at a position."""

    def describe(m: Module, c: Circuit) -> None:
        cfg = config_of(n, channels)
        place = c.free(range(cfg.window), "place")
        lower = c.free(rank_bits(cfg, position), "lower")
        width = rank_bits(cfg, position + 1) + 1
        share = table(place, [math.comb(position + d, position + 1) for d in range(cfg.window)], width)
        bound = table(place, [math.comb(position + d, position) for d in range(cfg.window)], width)
        m.d.comb += Assume((place < cfg.window) & (lower < bound))
        total = named(m, (share + lower)[:width], "total")
        check(m, "range", total < math.comb(position + cfg.window, position + 1))
        hits, rest = bare(RankDecoder(cfg))._find(m, position, total[:-1])
        check(m, "channel", Cat(hits) == Cat(place == d for d in range(cfg.window)))
        check(m, "rest", rest == lower)

    return Circuit(describe)


class _Chained(RankDecoder):
    """What each position is given is noted, what it finds is free."""

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.seen: dict[int, tuple[Signal, Signal, Signal]] = {}

    def _find(self, m: Module, position: int, rank: Value) -> tuple[list[Value], Value]:
        hits = Signal(self.cfg.window, name=f"free_hits_{position}")
        rest = Signal(rank_bits(self.cfg, position), name=f"free_rest_{position}")
        self.seen[position] = (named(m, rank, f"given_{position}"), hits, rest)
        return list(hits), rest


def _chain(n: int, channels: int) -> Circuit:
    """Every position is given what the one above it leaves; the mask is made of what all of them find."""

    def describe(m: Module, c: Circuit) -> None:
        decoder = _Chained(config_of(n, channels))
        m.submodules.decoder = Fragment.get(decoder, None)
        word = c.free(len(decoder.word), "word")
        m.d.comb += [decoder.word.eq(word), decoder.enable.eq(-1)]
        c.ports += [signal for _, hits, rest in decoder.seen.values() for signal in (hits, rest)]
        mask: Value = Const(0, channels)
        left, stage_above = word, 0
        for stage, positions in enumerate(decoder.stages):
            for position in positions:
                given, hits, rest = decoder.seen[position]
                cycles = stage - stage_above
                expected = history(m, left, cycles, f"left_{position}")
                check(m, f"given_{position}", ~settled(m, cycles) | (given == expected))
                marks = history(m, hits, decoder.latency - stage, f"hits_{position}")
                mask = mask | (marks << position)[:channels]
                left, stage_above = rest, stage
        check(m, "mask", ~settled(m, decoder.latency) | (decoder.mask == mask))

    return Circuit(describe)


def proofs() -> list[Proof]:
    """The way there and back at once where it is small enough; each step of the decoder, and the encoder's sum."""
    found = []
    for n, m in PATTERNS:
        if m <= DIRECT:
            found.append(
                Proof(
                    name=f"codec/{n}:{m}/round_trip",
                    claim="For every mask with N bits the rank is below C(M, N), and the decoder gives the mask back; "
                    "so ranks and masks correspond one to one (abc pdr, all masks).",
                    build=partial(_round_trip, n, m),
                    engine="abc pdr",
                )
            )
        found.append(
            Proof(
                name=f"codec/{n}:{m}/decoder/chain",
                claim="Every position gets the rank that the position above it leaves, the highest one the word, and "
                "the mask has the channels that all positions found for one word (whatever they find).",
                build=partial(_chain, n, m),
                engine="abc pdr" if m <= WHOLE_SUM else FORWARD,
            )
        )
        found += [
            Proof(
                name=f"codec/{n}:{m}/decoder/{position}",
                claim=f"Given the share of any channel for position {position} plus any rank of the lower ones, the "
                "decoder finds the channel and leaves the lower rank, and the sum is in range (all values).",
                build=partial(_step, n, m, position),
                engine="abc pdr",
            )
            for position in range(n)
        ]
    return found
