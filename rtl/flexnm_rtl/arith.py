"""Small combinational functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from operator import or_, xor
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from flexnm_rtl.config import bits_for


def magnitude(x: Any) -> Value:
    """``|x|`` of a signed value as an unsigned value of the same width; exact for the most negative number."""
    bits = x.as_unsigned()
    return Mux(x[-1], -bits, bits)[: len(bits)]


def named(m: Module, value: Any, name: str) -> Signal:
    """``value`` as a signal of its own, so that it is emitted once however often it is used."""
    signal = Signal(value.shape(), name=name)
    m.d.comb += signal.eq(value)
    return signal


def at_least(m: Module, a: Any, b: Any, name: str) -> Value:
    """``a >= b`` of unsigned values of one width, as a chain of majority gates from the lowest bit up.

    The carry chain of ``a - b``: one three-input majority a bit. Standard cells have that gate, and mapping keeps the
    chain where it would expand a subtraction into a wider prefix adder.
    """
    holds: Value = Const(1, 1)
    for k, (x, y) in enumerate(zip(Value.cast(a), Value.cast(b), strict=True)):
        step = Signal(name=f"{name}_{k}")
        m.d.comb += step.eq((x & ~y) | (holds & (x | ~y)))
        holds = step
    return holds


def balanced_sum(terms: Any) -> Value:
    """The exact sum of values, one at least: a balanced adder tree."""
    level = [Value.cast(term) for term in terms]
    while len(level) > 1:
        level = [level[k] + level[k + 1] if k + 1 < len(level) else level[k] for k in range(0, len(level), 2)]
    return level[0]


def column_sum(m: Module, columns: Sequence[Sequence[Any]], name: str) -> Value:
    """The sum of ``bit << k`` over all bits of ``columns[k]``, modulo ``2**len(columns)``, unsigned.

    A tree of full adders that takes the earliest bits of a column first (Wallace 1964, Dadda 1965): for many one-bit
    terms it is smaller and faster than a tree of adders.
    """
    pending: list[list[tuple[int, Value]]] = [[(0, Value.cast(bit)) for bit in column] for column in columns]

    def named(value: Value, k: int, index: int, kind: str) -> Value:
        signal = Signal(name=f"{name}_{kind}{k}_{index}")
        m.d.comb += signal.eq(value)
        return signal

    result: list[Value] = []
    for k, column in enumerate(pending):
        index = 0
        while len(column) > 1:
            column.sort(key=lambda item: item[0])
            taken, column[:] = column[:3], column[3:]
            bits = [bit for _, bit in taken]
            level = 1 + max(time for time, _ in taken)
            column.append((level, named(reduce(xor, bits), k, index, "sum")))
            if k + 1 < len(pending):
                carry = any_of([a & b for a, b in combinations(bits, 2)])
                pending[k + 1].append((level, named(carry, k, index, "carry")))
            index += 1
        result.append(column[0][1] if column else Const(0, 1))
    return Cat(result)


def count_columns(bits: Sequence[Any], start: Any) -> list[list[Value]]:
    """What ``column_sum`` adds for the number of set bits plus ``start``, as wide as ``start``."""
    columns = [[bit] for bit in Value.cast(start)]
    columns[0] += [Value.cast(bit) for bit in bits]
    return columns


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
