"""Enumerative metadata: from a mask to its rank among all masks of the pattern, and back.

The rank of kept channels c_0 < c_1 < .. < c_(N-1) is the sum of C(c_j, j + 1), in ``0 .. C(M, N) - 1``. Its sources are
in ``flexnm_model.metadata``. Both units use that the j-th kept value lies in one of M-N+1 channels: so few are the
constants that belong to a position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import any_of, gate
from flexnm_rtl.config import Config, Metadata, bits_for
from flexnm_rtl.pipeline import delay
from flexnm_rtl.positions import one_hot_sources

STAGE_COST, POSITION_COST = 43, 8
"""A stage of the decoder finds positions that cost no more: each as many as its rank has bits, and a constant.

So that the gates of a stage take about 1000 ps in ASAP7 (bench/metadata_cost.py).
"""


def shares(cfg: Config, position: int) -> list[int]:
    """What kept value ``position`` adds to the rank in each of the M-N+1 channels where it can be, lowest first."""
    return [math.comb(position + d, position + 1) for d in range(cfg.window)]


def rank_bits(cfg: Config, values: int) -> int:
    """Bits of the rank of the ``values`` lowest kept values."""
    return bits_for(math.comb(cfg.m_group - cfg.n_keep + values, values))


def unranked(cfg: Config) -> Config:
    """The configuration behind a decoder: bitmasks in the place of ranks."""
    return cfg.replace(metadata=Metadata.BITMASK) if cfg.metadata is Metadata.ENUMERATIVE else cfg


class RankEncoder(wiring.Component):
    """``word``: rank of ``mask``, ``latency`` enables later; ``enable[k]`` loads stage k.

    ``mask`` has exactly N bits set; with any other one the rank is unspecified. A value's share is the or of the
    constants of its channels, so N numbers are to be added: carry-save adders in the first stage, the sum of the two
    that remain in the second one. Ranks of 8 bits and less need one stage.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.latency = 2 if rank_bits(cfg, cfg.n_keep) > 8 else 1
        super().__init__(
            {
                "mask": In(cfg.m_group),
                "enable": In(self.latency),
                "word": Out(rank_bits(cfg, cfg.n_keep)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = carry_save(m, self._columns(m), "sum")
        summands = [delay(m, self.enable[:-1], row, f"summand_{k}") for k, row in enumerate(rows)]
        total = sum(summands[1:], summands[0])[: len(self.word)]
        m.d.comb += self.word.eq(delay(m, self.enable[-1:], total, "rank"))
        return m

    def _columns(self, m: Module) -> list[list[Value]]:
        """The bits to be added, by their weight."""
        cfg = self.cfg
        columns: list[list[Value]] = [[] for _ in range(len(self.word))]
        for position, hits in enumerate(one_hot_sources(m, cfg, self.mask, "source")):
            parts = shares(cfg, position)
            for k, column in enumerate(columns):
                chosen = [hit for hit, part in zip(hits, parts, strict=True) if part >> k & 1]
                if chosen:
                    bit = Signal(name=f"share_{position}_{k}")
                    m.d.comb += bit.eq(any_of(chosen))
                    column.append(bit)
        return columns


def carry_save(m: Module, columns: Sequence[Sequence[Value]], name: str) -> list[Value]:
    """Two numbers whose sum is that of ``bit << k`` over all bits of ``columns[k]``, modulo ``2**len(columns)``.

    Full adders take the earliest bits of a column first (Wallace 1964, Dadda 1965).
    """
    pending = [[(0, bit) for bit in column] for column in columns]

    def named(value: Value, label: str) -> Value:
        signal = Signal(name=f"{name}_{label}")
        m.d.comb += signal.eq(value)
        return signal

    for k, column in enumerate(pending):
        for index in range(len(column)):
            if len(column) <= 2:
                break
            column.sort(key=lambda item: item[0])
            (_, a), (_, b), (time, c) = column[:3]
            column[:3] = [(time + 1, named(a ^ b ^ c, f"sum_{k}_{index}"))]
            if k + 1 < len(pending):
                pending[k + 1].append((time + 1, named((a & b) | (c & (a | b)), f"carry_{k}_{index}")))
    zero = Const(0, 1)
    return [Cat(column[row][1] if row < len(column) else zero for column in pending) for row in range(2)]


class RankDecoder(wiring.Component):
    """``mask``: the mask whose rank is ``word``, ``latency`` enables later; ``enable[k]`` loads stage k.

    From the highest kept value down, each lies in the highest channel whose share does not exceed the rank, and the
    share is taken off. The constants of a position are compared at once; a stage does ``stages[k]`` positions, one of
    a wide rank, several of a narrow one. A word of C(M, N) or more gives an unspecified mask.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.stages = decoder_stages(cfg)
        self.latency = len(self.stages)
        super().__init__(
            {
                "word": In(rank_bits(cfg, cfg.n_keep)),
                "enable": In(self.latency),
                "mask": Out(cfg.m_group),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rank: Value = self.word
        marks: list[Value] = []  # of the highest channels, as many as can be known so far
        for stage, positions in enumerate(self.stages):
            enable = self.enable[stage : stage + 1]
            for position in positions:
                hits, rank = self._find(m, position, rank)
                marks = self._marked(position, hits, marks)
            marks = list(delay(m, enable, Cat(marks), f"marks_{stage}"))
            rank = delay(m, enable, rank, f"rank_{stage}")
        m.d.comb += self.mask.eq(Cat(marks))
        return m

    def _find(self, m: Module, position: int, rank: Value) -> tuple[list[Value], Value]:
        """One bit for each channel where the value can be, and the rank of the values below it."""
        parts = shares(self.cfg, position)
        reached: list[Value] = [Const(1, 1)]
        for d, part in list(enumerate(parts))[1:]:
            bit = Signal(name=f"reached_{position}_{d}")
            m.d.comb += bit.eq(rank >= part)
            reached.append(bit)
        hits = [*(here & ~above for here, above in pairwise(reached)), reached[-1]]
        share = Signal.like(rank, name=f"share_{position}")
        rest = Signal(rank_bits(self.cfg, position), name=f"rest_{position}")
        m.d.comb += share.eq(any_of([gate(hit, Const(part, len(rank))) for hit, part in zip(hits, parts, strict=True)]))
        m.d.comb += rest.eq(rank - share)
        return hits, rest

    def _marked(self, position: int, hits: list[Value], marks: list[Value]) -> list[Value]:
        """``marks`` with one channel more, and the value's channel set."""
        known = [Const(0, 1)] * (self.cfg.m_group - position - len(marks)) + marks
        return [mark | hits[d] if d < len(hits) else mark for d, mark in enumerate(known)]


def decoder_stages(cfg: Config) -> list[list[int]]:
    """Positions that each stage of the decoder finds, the highest position first."""
    stages: list[list[int]] = []
    room = 0
    for position in reversed(range(cfg.n_keep)):
        cost = rank_bits(cfg, position + 1) + POSITION_COST if cfg.window > 1 else 0
        if not stages or cost > room:
            stages.append([])
            room = STAGE_COST
        stages[-1].append(position)
        room -= cost
    return stages
