"""Small combinational functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from flexnm_rtl.config import bits_for


def magnitude(x: Any) -> Value:
    """``|x|`` of a signed value as an unsigned value of the same width; exact for the most negative number."""
    bits = x.as_unsigned()
    return Mux(x[-1], -bits, bits)[: len(bits)]


def balanced_sum(terms: Any) -> Value:
    """The exact sum of values, one at least: a balanced adder tree."""
    level = [Value.cast(term) for term in terms]
    while len(level) > 1:
        level = [level[k] + level[k + 1] if k + 1 < len(level) else level[k] for k in range(0, len(level), 2)]
    return level[0]


def popcount(bits: Any) -> Value:
    """Number of set bits of a value or a list of one-bit values, in just enough bits."""
    return balanced_sum(bits)[: bits_for(len(bits) + 1)] if len(bits) else Const(0, 1)


def prefix_counts(m: Module, bits: Any, name: str) -> list[Signal]:
    """``result[i]`` is the number of set bits among ``bits[0] .. bits[i-1]``, for i from 0 to ``len(bits)``.

    Built by halves (a Sklansky prefix network), so the depth grows with the logarithm of the length.
    """

    def of(low: int, high: int) -> list[Signal]:
        if high - low == 1:
            counts: list[Value] = [Const(0, 1), Value.cast(bits[low])]
        else:
            middle = (low + high + 1) // 2
            lower, upper = of(low, middle), of(middle, high)
            counts = [*lower, *(lower[-1] + count for count in upper[1:])]
        result = []
        for i, count in enumerate(counts):
            signal = Signal(bits_for(i + 1), name=f"{name}_{low}_{low + i}")
            m.d.comb += signal.eq(count)
            result.append(signal)
        return result

    return of(0, len(bits))


def any_of(terms: Sequence[Any]) -> Value:
    """Bitwise or of the terms."""
    return reduce(or_, terms)


def gate(condition: Any, value: Any) -> Value:
    """``value`` where the one-bit ``condition`` holds, else 0; unsigned, same width."""
    bits = Value.cast(value)
    return bits.as_unsigned() & condition.replicate(len(bits))


def pick(candidates: Sequence[Any], index: Any) -> Value:
    """``candidates[index]`` as a tree of 2:1 multiplexers; unspecified when the index is beyond the end."""
    level = [Value.cast(c) for c in candidates]
    for bit in index:
        if len(level) == 1:
            break
        level = [
            Mux(bit, *reversed(level[k : k + 2])) if k + 1 < len(level) else level[k] for k in range(0, len(level), 2)
        ]
    return level[0]


def shift_up(value: Any, shift: Any, width: int) -> Value:
    """``value << shift`` of unsigned values, in ``width`` bits."""
    current = Cat(value, Const(0, width))[:width]
    for k, bit in enumerate(shift):
        current = Mux(bit, Cat(Const(0, 1 << k), current)[:width], current)
    return current
