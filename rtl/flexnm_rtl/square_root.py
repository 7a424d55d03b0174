"""Square root of an unsigned number, a result bit a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import ceil_div


class SerialSquareRoot(wiring.Component):
    """``root = floor(sqrt(square))``, unsigned: ``bits`` bits in, ``ceil(bits / 2)`` bits out, digit by digit.

    ``start``: sample ``square``; a root under way is given up without a ``done``. ``busy``: from the cycle after
    ``start`` on, a cycle for each bit of ``root``. ``done``: one cycle, ``latency`` cycles after ``start``; a new
    ``start`` may come with it. ``root``: valid from ``done`` until the next ``start``.
    """

    def __init__(self, bits: int) -> None:
        self.root_bits = ceil_div(bits, 2)
        self.latency = self.root_bits + 1
        super().__init__(
            {"start": In(1), "square": In(bits), "busy": Out(1), "done": Out(1), "root": Out(self.root_bits)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self.root_bits + 1))
        done = Signal()
        pairs = Signal(2 * self.root_bits, reset_less=True)  # bits that are still to come, two a step
        root = Signal.like(self.root, reset_less=True)
        # What the root so far leaves of the bits so far: at most twice the root, so after the last step one bit more
        # than this, but nobody needs it then.
        rest = Signal(self.root_bits, reset_less=True)
        brought = Signal(len(rest) + 2)
        trial = Signal(len(rest) + 2)
        fits = Signal()
        m.d.comb += [
            brought.eq(Cat(pairs[-2:], rest)),
            trial.eq(Cat(Const(0b01, 2), root)),
            fits.eq(brought >= trial),
            self.busy.eq(left != 0),
            self.done.eq(done),
            self.root.eq(root),
        ]
        m.d.sync += done.eq(left == 1)
        with m.If(self.busy):
            m.d.sync += [
                left.eq(left - 1),
                pairs.eq(Cat(Const(0, 2), pairs[:-2])),
                rest.eq(Mux(fits, brought - trial, brought)),
                root.eq(Cat(fits, root[:-1])),
            ]
        with m.If(self.start):
            m.d.sync += [left.eq(self.root_bits), done.eq(0), pairs.eq(self.square), rest.eq(0), root.eq(0)]
        return m
