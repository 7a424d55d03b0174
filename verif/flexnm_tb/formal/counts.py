"""Adder trees and comparison chains: proved alone, and then replaced by their statements in larger proofs.

A proof about a circuit that counts 32 bits cannot look into the counts. ``Cut`` puts free numbers in the place of the
sums and says of what each one is the sum; ``column_sum`` is proved for trees of exactly those shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any
from unittest.mock import patch

from amaranth.hdl import Const, Module, Signal, Value
from flexnm_rtl.arith import at_least, column_sum
from flexnm_rtl.config import ConfigError, bits_for

from flexnm_tb.formal.proof import FORWARD, Circuit, Proof, check
from flexnm_tb.formal.rules import population

Shape = tuple[int, ...]
"""Bits of each column, the lowest weight first."""

WIDTH = 8


def rank_shape(channels: int) -> Shape:
    """What a rank adds up: a bit for each other channel."""
    return (channels - 1, *([0] * (bits_for(channels) - 1)))


def digit_shape(channels: int) -> Shape:
    """What a digit of a radix selector adds up: a bit for each channel, on top of a number with a sign."""
    return (channels + 1, *([1] * bits_for(channels)))


SHAPES: tuple[Shape, ...] = (
    *(rank_shape(channels) for channels in (4, 8, 16, 32)),
    *(digit_shape(channels) for channels in (16, 32)),
)
"""Trees that ``Cut`` may replace."""


@dataclass
class Cut:
    """Free numbers in the place of sums: ``columns[k]`` were to be added up for ``sums[k]``."""

    columns: list[list[list[Value]]] = field(default_factory=list)
    sums: list[Signal] = field(default_factory=list)

    def column_sum(self, m: Module, columns: Sequence[Sequence[Any]], name: str) -> Value:
        """In the place of ``arith.column_sum``. Raises ConfigError when no lemma knows a tree of this shape."""
        shape = tuple(len(column) for column in columns)
        if shape not in SHAPES:
            raise ConfigError(f"{name}: no lemma about a sum of columns of {shape} bits: add it to SHAPES")
        self.columns.append([[Value.cast(bit) for bit in column] for column in columns])
        self.sums.append(Signal(len(columns), name=f"free_{name}"))
        return self.sums[-1]


@contextmanager
def sums_cut(c: Circuit, module: str) -> Iterator[Cut]:
    """While this is open, a module of ``flexnm_rtl`` gets free numbers for its sums; they become ports of ``c``."""
    cut = Cut()
    with patch(f"flexnm_rtl.{module}.column_sum", cut.column_sum):
        yield cut
    c.ports += cut.sums


def _sum(shape: Shape) -> Circuit:
    def describe(m: Module, c: Circuit) -> None:
        columns = [list(c.free(bits, f"column_{k}")) if bits else [] for k, bits in enumerate(shape)]
        width = len(shape)
        terms = [(population(column) << k)[:width] for k, column in enumerate(columns) if column]
        total = reduce(lambda a, b: (a + b)[:width], terms, Const(0, width))
        check(m, "sum", column_sum(m, columns, "sum") == total)

    return Circuit(describe)


def _compared(m: Module, c: Circuit) -> None:
    a, b = c.free(WIDTH, "a"), c.free(WIDTH, "b")
    check(m, "holds", at_least(m, a, b, "chain") == (a >= b))


def proofs() -> list[Proof]:
    """Every shape of sum, and the comparison."""
    found = [
        Proof(
            name=f"arith/column_sum/{'-'.join(map(str, shape))}",
            claim="A tree of full adders with so many bits in its columns, from weight 1 on, gives their sum modulo 2 "
            "to the number of columns (all bits, by canonical forms).",
            build=partial(_sum, shape),
            engine=FORWARD,
        )
        for shape in SHAPES
    ]
    found.append(
        Proof(
            name=f"arith/at_least/{WIDTH}",
            claim="The chain of majorities says a >= b (all values of 8 bits).",
            build=lambda: Circuit(_compared),
            depth=1,
        )
    )
    return found
