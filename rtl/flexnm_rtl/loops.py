"""Nested loops with run-time limits and constant steps: how the engine walks over tokens, channels and outputs."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal
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


class LoopNest(wiring.Component):
    """Loops from the innermost to the outermost. For each loop ``x``:

    ``x_limit`` (in): elements, 1 or more, stable while the nest is in use. ``x_left`` (out): elements left, those of
    this iteration included. ``x_last`` (out): this is the last iteration.
    ``start``: go to the first iteration of all loops. ``advance``: go to the next one; after the last one the nest
    stands at the first again. ``final`` (out): the last iteration of all loops. State is undefined before ``start``.
    """

    def __init__(self, *loops: Loop) -> None:
        self.loops = loops
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
        carry = self.advance
        for loop in self.loops:
            limit = getattr(self, f"{loop.name}_limit")
            last = getattr(self, f"{loop.name}_last")
            left = Signal.like(limit, name=f"{loop.name}_now", reset_less=True)
            # Where one iteration takes every limit there can be, a comparison would be one with a constant result.
            always = loop.step >= (1 << len(left)) - 1
            m.d.comb += [getattr(self, f"{loop.name}_left").eq(left), last.eq(1 if always else left <= loop.step)]
            with m.If(self.start):
                m.d.sync += left.eq(limit)
            with m.Elif(carry):
                m.d.sync += left.eq(Mux(last, limit, left - loop.step))
            carry = carry & last
        finals = [getattr(self, f"{loop.name}_last") for loop in self.loops]
        final = finals[0]
        for other in finals[1:]:
            final = final & other
        m.d.comb += self.final.eq(final)
        return m
