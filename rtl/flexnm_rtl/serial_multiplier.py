"""Unsigned multiplication, some bits of one factor a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import ceil_div


class SerialMultiplier(wiring.Component):
    """``product = a * b``, exact and unsigned, ``digit`` bits of ``a`` a cycle, the highest first.

    ``start``: sample ``a`` and ``b``; a multiplication under way is given up without a ``done``. ``busy``: from the
    cycle after ``start`` on, ``ceil(a_bits / digit)`` cycles. ``done``: one cycle, ``latency`` cycles after ``start``;
    a new ``start`` may come with it. ``product``: valid from ``done`` until the next ``start``.
    """

    def __init__(self, a_bits: int, b_bits: int, digit: int = 8) -> None:
        self.digit = digit
        self.digits = ceil_div(a_bits, digit)
        self.latency = self.digits + 1
        super().__init__(
            {
                "start": In(1),
                "a": In(a_bits),
                "b": In(b_bits),
                "busy": Out(1),
                "done": Out(1),
                "product": Out(a_bits + b_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self.digits + 1))
        done = Signal()
        a = Signal(self.digits * self.digit, reset_less=True)
        b = Signal.like(self.b, reset_less=True)
        product = Signal.like(self.product, reset_less=True)
        m.d.comb += [self.busy.eq(left != 0), self.done.eq(done), self.product.eq(product)]
        m.d.sync += done.eq(left == 1)
        with m.If(self.busy):
            m.d.sync += [
                left.eq(left - 1),
                a.eq(a << self.digit),
                product.eq(Cat(Const(0, self.digit), product) + a[-self.digit :] * b),
            ]
        with m.If(self.start):
            m.d.sync += [left.eq(self.digits), done.eq(0), a.eq(self.a), b.eq(self.b), product.eq(0)]
        return m
