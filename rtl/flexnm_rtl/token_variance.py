"""The gain of variance correction: the root of a token's variance before and after the selection."""

from __future__ import annotations

import enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import magnitude
from flexnm_rtl.config import GAIN_FRACTION, GAIN_WIDTH, Config, sum_bits
from flexnm_rtl.divider import SerialDivider
from flexnm_rtl.serial_multiplier import SerialMultiplier
from flexnm_rtl.square_root import SerialSquareRoot


def value_sum_width(cfg: Config) -> int:
    """Bits of the signed sum of a token's values."""
    return sum_bits(cfg.k_max, cfg.value_width)


def square_sum_width(cfg: Config) -> int:
    """Bits of the unsigned sum of the squares of a token's values."""
    return (cfg.k_max << (2 * cfg.value_width - 2)).bit_length()


class _Phase(enum.Enum):
    """What is under way."""

    IDLE = 0
    PRODUCTS = 1
    QUOTIENT = 2
    ROOT = 3


class TokenVariance(wiring.Component):
    """``nu = 2**F`` if V' = 0, else ``min(isqrt(floor(V * 2**(2F) / V')), 2**GAIN_WIDTH - 1)``, F = GAIN_FRACTION.

    ``V = channels * before_squares - before_sum**2``, V' the same of ``after_``; isqrt is the floor of the root.
    Sums are signed, sums of squares unsigned; all inputs and ``channels`` must be stable from ``start`` to ``done``.
    ``start``: a gain under way is given up without a ``done``. ``busy``: from the cycle after ``start`` to the one
    before ``done``. ``done``: one cycle, ``latency`` cycles after ``start``; a new ``start`` may come with it. ``nu``:
    unsigned, valid from ``done`` until the next ``done``.

    The four products are made one after the other, those of V' first, then the quotient, then its root. The quotient
    is limited to ``2 * GAIN_WIDTH`` bits, so its root needs no limit.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        magnitude_bits, square_bits = value_sum_width(cfg) - 1, square_sum_width(cfg)
        variance_bits = (cfg.k_max**2 << (2 * cfg.value_width - 2)).bit_length()
        self.multiplier = SerialMultiplier(magnitude_bits, max(square_bits, magnitude_bits))
        self.divider = SerialDivider(variance_bits + 2 * GAIN_FRACTION, variance_bits, 2 * GAIN_WIDTH)
        self.root = SerialSquareRoot(2 * GAIN_WIDTH)
        # Each unit starts a cycle after the one before it is done.
        self.latency = 4 * (self.multiplier.latency + 1) + self.divider.latency + self.root.latency + 3
        sides = ("before", "after")
        sums = {f"{side}_sum": In(signed(magnitude_bits + 1)) for side in sides}
        squares = {f"{side}_squares": In(square_bits) for side in sides}
        handshake = {"start": In(1), "busy": Out(1), "done": Out(1), "nu": Out(GAIN_WIDTH)}
        super().__init__({**handshake, "channels": In(range(cfg.k_max + 1)), **sums, **squares})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = self.multiplier
        m.submodules.divider = divider = self.divider
        m.submodules.root = root = self.root
        phase = Signal(_Phase)
        begin = Signal()  # first cycle of a unit's work; what it says now belongs to a run that was given up
        step = Signal(2)  # products: channels * squares and sum**2, of the values after the selection, then before it
        done = Signal()
        nu = Signal.like(self.nu, reset_less=True)
        variance = Signal.like(divider.denominator, reset_less=True)
        variance_after = Signal.like(divider.denominator, reset_less=True)
        self._operands(m, step)
        m.d.comb += [
            divider.numerator.eq(Cat(Const(0, 2 * GAIN_FRACTION), variance)),
            divider.denominator.eq(variance_after),
            root.square.eq(divider.quotient),
            self.busy.eq(phase != _Phase.IDLE),
            self.done.eq(done),
            self.nu.eq(nu),
        ]
        m.d.sync += [begin.eq(0), done.eq(0)]
        with m.Switch(phase):
            with m.Case(_Phase.PRODUCTS):
                m.d.comb += multiplier.start.eq(begin)
                with m.If(multiplier.done & ~begin):
                    m.d.sync += [begin.eq(1), step.eq(step + 1), variance.eq(multiplier.product)]
                    with m.If(step[0]):
                        m.d.sync += variance.eq(variance - multiplier.product)
                    with m.Else():
                        m.d.sync += variance_after.eq(variance)
                    with m.If(step == 3):
                        m.d.sync += phase.eq(_Phase.QUOTIENT)
            with m.Case(_Phase.QUOTIENT):
                m.d.comb += divider.start.eq(begin)
                with m.If(divider.done & ~begin):
                    m.d.sync += [begin.eq(1), phase.eq(_Phase.ROOT)]
            with m.Case(_Phase.ROOT):
                m.d.comb += root.start.eq(begin)
                with m.If(root.done & ~begin):
                    m.d.sync += [done.eq(1), phase.eq(_Phase.IDLE)]
                    m.d.sync += nu.eq(Mux(variance_after == 0, 1 << GAIN_FRACTION, root.root))
        with m.If(self.start):
            m.d.sync += [phase.eq(_Phase.PRODUCTS), begin.eq(1), step.eq(0), done.eq(0)]
        return m

    def _operands(self, m: Module, step: Signal) -> None:
        total = Mux(step[1], magnitude(self.before_sum), magnitude(self.after_sum))
        squares = Mux(step[1], self.before_squares, self.after_squares)
        m.d.comb += [
            self.multiplier.a.eq(Mux(step[0], total, self.channels)),
            self.multiplier.b.eq(Mux(step[0], total, squares)),
        ]
