"""Unsigned division, a quotient bit a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class SerialDivider(wiring.Component):
    """``quotient = min(floor(numerator / denominator), 2**quotient_bits - 1)``, all unsigned, by restoring division.

    numerator_bits, denominator_bits, quotient_bits: widths; the quotient has as many bits as the numerator unless fewer
    are asked for. A denominator of 0 gives the limit, all ones.
    ``start``: sample ``numerator`` and ``denominator``; a division under way is given up without a ``done``.
    ``busy``: from the cycle after ``start`` on, ``quotient_bits`` cycles. ``done``: one cycle, ``latency`` cycles after
    ``start``; a new ``start`` may come with it. ``quotient``, ``remainder``: valid from ``done`` until the next
    ``start``; the remainder only where the quotient is below its limit.
    """

    def __init__(self, numerator_bits: int, denominator_bits: int, quotient_bits: int = 0) -> None:
        self.quotient_bits = quotient_bits or numerator_bits
        self.latency = self.quotient_bits + 1
        super().__init__(
            {
                "start": In(1),
                "numerator": In(numerator_bits),
                "denominator": In(denominator_bits),
                "busy": Out(1),
                "done": Out(1),
                "quotient": Out(self.quotient_bits),
                "remainder": Out(denominator_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self.quotient_bits + 1))
        done = Signal()
        over = Signal(reset_less=True)  # the quotient exceeds its limit
        divisor = Signal.like(self.denominator, reset_less=True)
        remainder = Signal.like(self.remainder, reset_less=True)
        # Bits of the numerator leave at the top while those of the quotient enter at the bottom.
        shifter = Signal.like(self.quotient, reset_less=True)
        shifted = Signal(unsigned(len(divisor) + 1))
        fits = Signal()
        m.d.comb += [
            shifted.eq(Cat(shifter[-1], remainder)),
            fits.eq(shifted >= divisor),
            self.busy.eq(left != 0),
            self.done.eq(done),
            self.quotient.eq(shifter),
            self.remainder.eq(remainder),
        ]
        m.d.sync += done.eq(left == 1)
        with m.If(self.busy):
            m.d.sync += [
                left.eq(left - 1),
                remainder.eq(Mux(fits, shifted - divisor, shifted)),
                shifter.eq(Cat(fits | over, shifter[:-1])),
            ]
        high = self.numerator[self.quotient_bits :]
        with m.If(self.start):
            m.d.sync += [
                left.eq(self.quotient_bits),
                done.eq(0),
                over.eq(high >= self.denominator),
                divisor.eq(self.denominator),
                remainder.eq(high),
                shifter.eq(self.numerator),
            ]
        return m
