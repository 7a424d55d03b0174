"""The mean of a token's activations, the shift of D-PTS."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import magnitude
from flexnm_rtl.config import Config, sum_bits
from flexnm_rtl.divider import SerialDivider


class TokenMean(wiring.Component):
    """``mean = round_half_even(2**fraction_bits * sum / channels)``, a division of the magnitude, a bit a cycle.

    ``start``: sample ``sum`` (signed, of ``channels`` activations or fewer); a mean under way is given up without a
    ``done``. ``channels``: 1 or more, stable until ``done``. ``busy``: from the cycle after ``start`` to the one before
    ``done``. ``done``: one cycle, ``latency`` cycles after ``start``; a new ``start`` may come with it. ``mean``:
    signed, ``shift_width`` bits, valid from ``done`` until the next ``start``.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        magnitude_bits = sum_bits(cfg.k_max, cfg.act_width) - 1
        # The magnitude is at most 2**(value_width - 1), that of the most negative activation.
        self.divider = SerialDivider(magnitude_bits + cfg.fraction_bits, cfg.k_max.bit_length(), cfg.value_width)
        self.latency = self.divider.latency + 1
        super().__init__(
            {
                "start": In(1),
                "sum": In(signed(magnitude_bits + 1)),
                "channels": In(range(cfg.k_max + 1)),
                "busy": Out(1),
                "done": Out(1),
                "mean": Out(signed(cfg.shift_width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.divider = divider = self.divider
        negative = Signal(reset_less=True)
        done = Signal()
        mean = Signal.like(self.mean, reset_less=True)
        twice = Signal(len(divider.remainder) + 1)
        up = Signal()
        rounded = Signal(len(divider.quotient) + 1)
        m.d.comb += [
            divider.start.eq(self.start),
            divider.numerator.eq(Cat(Const(0, self.cfg.fraction_bits), magnitude(self.sum))),
            divider.denominator.eq(self.channels),
            twice.eq(Cat(Const(0, 1), divider.remainder)),
            up.eq((twice > self.channels) | ((twice == self.channels) & divider.quotient[0])),
            rounded.eq(divider.quotient + up),
            self.busy.eq(divider.busy | divider.done),
            self.done.eq(done),
            self.mean.eq(mean),
        ]
        m.d.sync += done.eq(divider.done & ~self.start)
        with m.If(divider.done):
            m.d.sync += mean.eq(Mux(negative, -rounded, rounded))
        with m.If(self.start):
            m.d.sync += negative.eq(self.sum[-1])
        return m
