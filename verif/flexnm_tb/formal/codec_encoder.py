"""The enumerative encoder: the rank is the sum of C(c, j + 1) over the kept channels c_0 < c_1 < .."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from amaranth.hdl import Assume, Cat, Const, Fragment, Module, Mux, Signal, Value
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.enumerative import RankEncoder, shares

from flexnm_tb.formal.proof import FORWARD, Circuit, Proof, check
from flexnm_tb.formal.rules import history, named, population, settled

PATTERNS = ((2, 4), (4, 8), (8, 16), (16, 32))
WHOLE_SUM = 16
"""Largest M for which the encoder is one question, and the chain of the decoder one for pdr."""


def config_of(n: int, m: int) -> Config:
    """A design with ranks as metadata."""
    return Config(n_keep=n, m_group=m, lanes=1, metadata=Metadata.ENUMERATIVE)


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


def _proofs(n: int, m: int) -> list[Proof]:
    """The sum at once, or what is added and the adders apart."""
    if m <= WHOLE_SUM:
        return [
            Proof(
                name=f"codec/{n}:{m}/encoder",
                claim="The rank is the sum of C(c, j + 1) over the kept channels c_0 < c_1 < .. (all masks).",
                build=partial(_encoder, n, m),
                engine="abc pdr" if m <= 8 else FORWARD,
            )
        ]
    return [
        Proof(
            name=f"codec/{n}:{m}/encoder/shares",
            claim="The bits to be added are those of C(c, j + 1) of the kept channels c_0 < c_1 < .., each once "
            "(all masks with N bits, canonical forms).",
            build=partial(_shares, n, m),
            engine=FORWARD,
        ),
        Proof(
            name=f"codec/{n}:{m}/encoder/sum",
            claim="The word is the sum of these bits by their weights, whatever they are (canonical forms).",
            build=partial(_sum, n, m),
            engine=FORWARD,
        ),
    ]


def proofs() -> list[Proof]:
    """For every pattern."""
    return [proof for n, m in PATTERNS for proof in _proofs(n, m)]
