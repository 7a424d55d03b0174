"""The enumerative codec: ranks are 0 .. C(M, N) - 1, one for each mask, and the decoder finds the mask again.

The decoder takes the kept channels from the highest down. Of a rank that is the share of channel c at position p plus
the rank of lower channels, it must take off the share of c: that is one step, for each position and all ranks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from amaranth.hdl import Assume, Cat, Const, Fragment, Module, Mux, Signal, Value
from flexnm_rtl.config import Config
from flexnm_rtl.enumerative import RankDecoder, RankEncoder, rank_bits, shares

from flexnm_tb.formal.codec_encoder import PATTERNS, config_of, table
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


class _Summed(RankEncoder):
    """Adds free bits, as many of each weight as there are; notes what is really to be added."""

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.real: list[list[Value]] = []
        self.free: list[list[Signal]] = []

    def _columns(self, m: Module) -> list[list[Value]]:
        self.real = super()._columns(m)
        self.free = [[Signal(name=f"free_{k}_{i}") for i in range(len(column))] for k, column in enumerate(self.real)]
        return [list(column) for column in self.free]


def _shares(n: int, channels: int) -> Circuit:
    """The bits to be added are those of the kept channels' shares."""

    def describe(m: Module, c: Circuit) -> None:
        encoder, mask = _Summed(config_of(n, channels)), c.free(channels, "mask")
        m.submodules.encoder = Fragment.get(encoder, None)
        m.d.comb += [encoder.mask.eq(mask), encoder.enable.eq(-1)]
        c.ports += [bit for column in encoder.free for bit in column]
        ready = named(m, population(list(mask)) == n, "ready")
        left = [list(column) for column in encoder.real]
        for position in range(n):
            parts = shares(encoder.cfg, position)
            hits = [
                mask[position + d] & (population(list(mask[: position + d])) == position)
                for d in range(encoder.cfg.window)
            ]
            for k, column in enumerate(left):
                chosen = [hit for hit, part in zip(hits, parts, strict=True) if part >> k & 1]
                if chosen:
                    check(m, f"share_{position}_{k}", ~ready | (column.pop(0) == Cat(chosen).any()))
        assert not any(left)

    return Circuit(describe)


def _sum(n: int, channels: int) -> Circuit:
    """The word is the sum of the bits, whatever they are."""

    def describe(m: Module, c: Circuit) -> None:
        encoder = _Summed(config_of(n, channels))
        m.submodules.encoder = Fragment.get(encoder, None)
        m.d.comb += [encoder.mask.eq(0), encoder.enable.eq(-1)]
        width = len(encoder.word)
        total: Value = Const(0, width)
        for k, column in enumerate(encoder.free):
            c.ports += column
            if column:
                total = named(m, (total + (population(list(column)) << k))[:width], f"total_{k}")
        late = history(m, total, encoder.latency, "total")
        check(m, "word", ~settled(m, encoder.latency) | (encoder.word == late))

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


def table(index: Value, numbers: Sequence[int], width: int) -> Value:
    """``numbers[index]``."""
    found: Value = Const(0, width)
    for k, number in enumerate(numbers):
        found = Mux(index == k, Const(number, width), found)
    return found


def _encoder(n: int, channels: int) -> Circuit:
    """The word against the sum of the kept channels' shares, added one after another."""

    def describe(m: Module, c: Circuit) -> None:
        cfg = config_of(n, channels)
        m.submodules.encoder = encoder = RankEncoder(cfg)
        mask = c.free(channels, "mask")
        m.d.comb += [Assume(population(mask) == n), encoder.mask.eq(mask), encoder.enable.eq(-1)]
        width = len(encoder.word)
        total: Value = Const(0, width)
        for channel in range(channels):
            before = population(list(mask[:channel])) if channel else Const(0, 1)
            parts = [math.comb(channel, k + 1) % (1 << width) for k in range(min(channel + 1, n))]
            share = Mux(mask[channel], table(before, parts, width), 0)
            total = named(m, (total + share)[:width], f"sum_{channel}")
        late = history(m, total, encoder.latency, "sum")
        check(m, "word", ~settled(m, encoder.latency) | (encoder.word == late))

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
                engine=FORWARD,
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
