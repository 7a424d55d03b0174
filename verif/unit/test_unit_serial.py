"""Serial divider, square root and multiplier against Python's integers: all small operands, edges, random ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import product
from math import isqrt

import pytest
from flexnm_rtl.divider import SerialDivider
from flexnm_rtl.serial_multiplier import SerialMultiplier
from flexnm_rtl.square_root import SerialSquareRoot
from serial_tools import run_serial

Pair = tuple[int, int]


def edges(bits: int) -> list[int]:
    """Small and large numbers of ``bits`` bits, powers of two and their neighbours."""
    near = {(1 << k) + d for k in range(bits + 1) for d in (-1, 0, 1)}
    return sorted(v for v in near if 0 <= v < 1 << bits)


def numbers(rng: random.Random, bits: int) -> int:
    return rng.randrange(1 << rng.randint(1, bits))


def pairs(first: int, second: int, count: int) -> list[Pair]:
    """Edges of both operands in random company, and random pairs of all sizes."""
    rng = random.Random(first * 64 + second)
    some = [(a, numbers(rng, second)) for a in edges(first)] + [(numbers(rng, first), b) for b in edges(second)]
    some += [(numbers(rng, first), numbers(rng, second)) for _ in range(count)]
    top = [(a, b) for a in edges(first)[-2:] for b in (*edges(second)[:3], *edges(second)[-2:])]
    return some + top


def divide(bits: tuple[int, int, int], jobs: Iterable[Pair]) -> None:
    """Quotients are limited; the remainder counts where they are not, nor divided by zero."""
    numerator_bits, denominator_bits, asked = bits
    dut = SerialDivider(numerator_bits, denominator_bits, asked)
    quotient_bits = asked or numerator_bits
    assert dut.latency == quotient_bits + 1
    assert len(dut.quotient) == quotient_bits
    limit = (1 << quotient_bits) - 1
    jobs = list(jobs)
    got = run_serial(dut, [{"numerator": a, "denominator": b} for a, b in jobs], ("quotient", "remainder"))
    for (a, b), (quotient, remainder) in zip(jobs, got, strict=True):
        if b == 0 or a // b > limit:
            assert quotient == limit
        else:
            assert (quotient, remainder) == divmod(a, b)


@pytest.mark.parametrize("bits", [(5, 3, 0), (5, 3, 5), (5, 3, 2), (3, 5, 0), (4, 4, 1), (1, 1, 0)])
def test_divide_all_small_numbers(bits: tuple[int, int, int]) -> None:
    divide(bits, product(range(1 << bits[0]), range(1 << bits[1])))


@pytest.mark.parametrize("bits", [(24, 15, 8), (24, 15, 0), (15, 24, 0), (84, 60, 32), (33, 9, 24)])
def test_divide_large_numbers(bits: tuple[int, int, int]) -> None:
    divide(bits, pairs(*bits[:2], 60))


@pytest.mark.parametrize("bits", [(16, 9, 5), (84, 60, 32)])
def test_divide_around_the_limit(bits: tuple[int, int, int]) -> None:
    """Quotients just below the limit, the limit itself, and above it."""
    rng = random.Random(bits[0])
    jobs = []
    for _ in range(40):
        b = rng.randrange(1, 1 << (bits[1] - 2))
        jobs += [
            (a, b) for d in (-1, 0) for a in (((1 << bits[2]) + d) * b + e for e in (-1, 0, 1)) if a >> bits[0] == 0
        ]
    divide(bits, jobs)


@pytest.mark.parametrize("bits", [1, 2, 3, 7, 8])
def test_root_of_all_small_numbers(bits: int) -> None:
    dut = SerialSquareRoot(bits)
    assert dut.latency == len(dut.root) + 1 == (bits + 1) // 2 + 1
    assert run_serial(dut, [{"square": v} for v in range(1 << bits)], ("root",)) == [
        (isqrt(v),) for v in range(1 << bits)
    ]


@pytest.mark.parametrize("bits", [31, 32])
def test_root_of_large_numbers(bits: int) -> None:
    """Squares and their neighbours, where the floor changes."""
    rng = random.Random(bits)
    roots = [isqrt((1 << bits) - 1), *(numbers(rng, (bits + 1) // 2) for _ in range(60))]
    squares = [v for r in roots for v in (r * r - 1, r * r, r * r + 1) if 0 <= v < 1 << bits]
    squares += edges(bits) + [numbers(rng, bits) for _ in range(60)]
    got = run_serial(SerialSquareRoot(bits), [{"square": v} for v in squares], ("root",))
    assert got == [(isqrt(v),) for v in squares]


def multiply(bits: tuple[int, int, int], jobs: Iterable[Pair], latency: Callable[[int, int], int]) -> None:
    dut = SerialMultiplier(*bits)
    assert dut.latency == latency(bits[0], bits[2])
    jobs = list(jobs)
    got = run_serial(dut, [{"a": a, "b": b} for a, b in jobs], ("product",))
    assert got == [(a * b,) for a, b in jobs]


def steps(bits: int, digit: int) -> int:
    return -(-bits // digit) + 1


@pytest.mark.parametrize("bits", [(4, 3, 1), (4, 3, 3), (5, 3, 2), (3, 4, 8)])
def test_multiply_all_small_numbers(bits: tuple[int, int, int]) -> None:
    multiply(bits, product(range(1 << bits[0]), range(1 << bits[1])), steps)


@pytest.mark.parametrize("bits", [(22, 31, 8), (36, 52, 8), (9, 40, 4)])
def test_multiply_large_numbers(bits: tuple[int, int, int]) -> None:
    multiply(bits, pairs(*bits[:2], 60), steps)
