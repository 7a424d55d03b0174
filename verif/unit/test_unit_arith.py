"""The combinational functions, exhaustively where that is small."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from flexnm_rtl.arith import any_of, column_sum, count_columns, gate, magnitude, pick, prefix_counts, shift_up
from flexnm_rtl.config import bits_for
from unit_tools import pack, simulate, unpack


def evaluate(build: Callable[[Module, Signal], Value], shape: Any, inputs: Iterable[int]) -> list[int]:
    """The output of a combinational function for each input."""
    m = Module()
    x = Signal(shape)
    y = build(m, x)
    out = Signal(y.shape())
    m.d.comb += out.eq(y)
    results = []

    async def bench(ctx: Any) -> None:
        for value in inputs:
            ctx.set(x, value)
            results.append(ctx.get(out))

    simulate(m, bench)
    return results


def words(width: int) -> list[int]:
    """All words of a narrow width; corners and random ones of a wide one."""
    if width <= 9:
        return list(range(1 << width))
    rng = random.Random(width)
    ones = (1 << width) - 1
    walking = [1 << k for k in range(width)]
    return [0, ones, *walking, *(ones ^ w for w in walking), *(rng.getrandbits(width) for _ in range(100))]


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8, 9, 15, 16, 31, 32, 33])
@pytest.mark.parametrize("start", [0, 5, 63])
def test_column_sum_counts_on_from_a_start(width: int, start: int) -> None:
    def build(m: Module, x: Signal) -> Value:
        return column_sum(m, count_columns(x, Const(start, 6)), "count")

    assert evaluate(build, width, words(width)) == [(w.bit_count() + start) % 64 for w in words(width)]


def test_column_sum_weighs_columns_and_drops_what_overflows() -> None:
    def build(m: Module, x: Signal) -> Value:
        return column_sum(m, [list(x[:4]), [], list(x[4:])], "sum")

    expected = [((w & 15).bit_count() + 4 * (w >> 4).bit_count()) % 8 for w in words(9)]
    assert evaluate(build, 9, words(9)) == expected


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 16, 31, 32])
def test_prefix_counts(width: int) -> None:
    field = 8
    lengths = []

    def build(m: Module, x: Signal) -> Value:
        counts = prefix_counts(m, x, "count")
        lengths.extend(len(c) for c in counts)
        assert len(counts) == width + 1
        padded = [Signal(field, name=f"padded_{i}") for i in range(width + 1)]
        m.d.comb += [p.eq(c) for p, c in zip(padded, counts, strict=True)]
        return Cat(padded)

    for word, result in zip(words(width), evaluate(build, width, words(width)), strict=True):
        below = [(word & ((1 << i) - 1)).bit_count() for i in range(width + 1)]
        assert unpack(result, field, width + 1, signed=False) == below
    assert lengths == [bits_for(i + 1) for i in range(width + 1)]


@pytest.mark.parametrize("width", [4, 5, 8, 9, 16])
def test_magnitude(width: int) -> None:
    half = 1 << (width - 1)
    values = [-half, 1 - half, -1, 0, 1, half - 1, *range(-half, half, max(1, half // 100))]
    assert evaluate(lambda _, x: magnitude(x), signed(width), values) == [abs(v) for v in values]
    shape = magnitude(Signal(signed(width))).shape()
    assert (shape.width, shape.signed) == (width, False)


@pytest.mark.parametrize("count", range(1, 18))
def test_pick(count: int) -> None:
    values = [(-1) ** k * (7 * k % 16) for k in range(count)]

    def build(m: Module, x: Signal) -> Value:
        candidates = [Signal(signed(5), name=f"candidate_{k}", init=v) for k, v in enumerate(values)]
        return pick(candidates, x)

    assert evaluate(build, bits_for(count), range(count)) == values


def test_shift_up() -> None:
    """The value in the low 5 bits, the shift above."""
    results = evaluate(lambda _, x: shift_up(x[:5], x[5:], 10), 8, range(256))
    assert results == [((word & 31) << (word >> 5)) & 1023 for word in range(256)]


def test_gate_and_any_of() -> None:
    assert evaluate(lambda _, x: gate(x[3], x[:3].as_signed()), 4, range(16)) == [*[0] * 8, *range(8)]
    assert evaluate(lambda _, x: any_of([x[:2], x[2:4], x[4:]]), 6, range(64)) == [
        (w | w >> 2 | w >> 4) & 3 for w in range(64)
    ]


def test_pack_and_unpack_of_the_tests() -> None:
    assert pack([-1, 0, 7, -8], 4) == 0x870F
    assert unpack(0x870F, 4, 4) == [-1, 0, 7, -8]
    assert unpack(0x870F, 4, 4, signed=False) == [15, 0, 7, 8]
