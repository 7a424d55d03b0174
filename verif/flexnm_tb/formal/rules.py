"""What a selection is asked for, as conditions on a mask and scores, written without the RTL's arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, TypeVar

from amaranth.hdl import Const, Module, Signal, Value
from flexnm_rtl.config import bits_for

_T = TypeVar("_T")


def bare(component: _T) -> _T:
    """A component of which only methods are used: Amaranth is not to warn that it is in no design."""
    component._MustUse__used = True  # type: ignore[attr-defined]
    return component


def beats(i: int, j: int, scores: Sequence[Any]) -> Value:
    """Channel i comes before channel j: a higher score, or the same one and a lower number."""
    return scores[i] >= scores[j] if i < j else scores[i] > scores[j]


def population(bits: Sequence[Any]) -> Value:
    """Set bits, by adding one after another, unsigned."""
    width = bits_for(len(bits) + 1)
    return reduce(lambda total, bit: (total + bit)[:width], bits, Const(0, width))


def implies(a: Any, b: Any) -> Value:
    """Of conditions of one bit."""
    return ~a | b


def named(m: Module, value: Any, name: str) -> Signal:
    """The value as a signal, so that it stands once in the netlist, and with a name in a trace."""
    signal = Signal(Value.cast(value).shape(), name=name)
    m.d.comb += signal.eq(value)
    return signal


def history(m: Module, value: Any, cycles: int, name: str) -> Value:
    """The value ``cycles`` cycles ago."""
    for k in range(cycles):
        register = Signal(Value.cast(value).shape(), name=f"{name}_ago_{k + 1}")
        m.d.sync += register.eq(value)
        value = register
    return value


def settled(m: Module, cycles: int) -> Value:
    """At least ``cycles`` cycles have passed."""
    return history(m, Const(1, 1), cycles, "settled")
