"""Nested loops with run-time limits and constant steps: how the engine walks over tokens, channels and outputs."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


@dataclass(frozen=True)
class Loop:
    """``limit`` elements, ``step`` of them in an iteration, so ceil(limit / step) iterations, without a division.

    largest: the largest limit there can be.
    """

    name: str
    largest: int
    step: int


def _within(value: Signal, largest: int) -> Value:
    """``value <= largest``, in a form that is no comparison where synthesis might find its result constant."""
    if largest >= (1 << len(value)) - 1:
        return Const(1, 1)
    return ~value[1:].any() if largest == 1 else value <= largest


class LoopNest(wiring.Component):
    """Loops from the innermost to the outermost. For each loop ``x``:

    ``x_limit`` (in): elements, 1 or more, stable while the nest is in use. ``x_left`` (out): elements left, those of
    this iteration included. ``x_last`` (out): this is the last iteration, from a register.
    ``start``: go to the first iteration of all loops. ``advance``: go to the next one; after the last one the nest
    stands at the first again. ``final`` (out): the last iteration of all loops. State is undefined before ``start``.
    ``late``: all loops but the innermost move on a cycle after it, from a register. It then has two iterations or more.
    """

    def __init__(self, *loops: Loop, late: bool = False) -> None:
        self.loops = loops
        self.late = late
        ports: dict[str, wiring.Member] = {"start": In(1), "advance": In(1), "final": Out(1)}
        for loop in loops:
            ports |= {
                f"{loop.name}_limit": In(range(loop.largest + 1)),
                f"{loop.name}_left": Out(range(loop.largest + 1)),
                f"{loop.name}_last": Out(1),
            }
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        carry: Value = self.advance
        for k, loop in enumerate(self.loops):
            limit = getattr(self, f"{loop.name}_limit")
            last = getattr(self, f"{loop.name}_last")
            left = Signal.like(limit, name=f"{loop.name}_now", reset_less=True)
            ends = Signal(name=f"{loop.name}_ends", reset_less=True)
            m.d.comb += [getattr(self, f"{loop.name}_left").eq(left), last.eq(ends)]
            with m.If(self.start):
                m.d.sync += [left.eq(limit), ends.eq(_within(limit, loop.step))]
            with m.Elif(carry):
                following = _within(limit, loop.step), _within(left, 2 * loop.step)
                m.d.sync += [left.eq(Mux(last, limit, left - loop.step)), ends.eq(Mux(last, *following))]
            carry = carry & last
            if self.late and k == 0:
                around = Signal()
                m.d.sync += around.eq(carry & ~self.start)
                carry = around
        finals = [getattr(self, f"{loop.name}_last") for loop in self.loops]
        final = finals[0]
        for other in finals[1:]:
            final = final & other
        m.d.comb += self.final.eq(final)
        return m
