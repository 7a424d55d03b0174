"""Requantisation of exact sums. The rule stands in ``flexnm_model.requantize``; this is its hardware."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import named
from flexnm_rtl.config import BIAS_WIDTH, MULTIPLIER_WIDTH, PARAMETER_BITS, SHIFT_WIDTH, Config
from flexnm_rtl.pipeline import delay

PART_BITS = 17
"""Bits of a sum that are multiplied at a time: with a sign, what a multiplier of an FPGA takes."""

FINE_BITS = 3
"""Low bits of a shift that are done in the first stage of two."""


def parameters() -> data.StructLayout:
    """What one output needs, 64 bits: ``bias`` (signed 32), ``multiplier`` (unsigned 16), ``shift`` (unsigned 6).

    In a design with ``token_shift`` 64 more bits follow, the sum of the output's weights (signed 32) lowest.
    """
    spare = PARAMETER_BITS - BIAS_WIDTH - MULTIPLIER_WIDTH - SHIFT_WIDTH
    return data.StructLayout(
        {
            "bias": signed(BIAS_WIDTH),
            "multiplier": unsigned(MULTIPLIER_WIDTH),
            "shift": unsigned(SHIFT_WIDTH),
            "reserved": unsigned(spare),
        }
    )


def saturate(value: Value, width: int) -> Value:
    """A signed value clamped to signed ``width`` bits."""
    if len(value) <= width:
        return value
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    fits = value[width - 1 :] == value[-1].replicate(len(value) - width + 1)
    return Mux(fits, value[:width].as_signed(), Mux(value[-1], low, high))[:width].as_signed()


def shift_down(m: Module, value: Value, shift: Value) -> tuple[Value, Value]:
    """``value / 2**shift`` of a signed value, not rounded yet.

    Returns the quotient with one bit below it, its half, and whether anything below that was set.
    """
    return shift_on(m, Cat(Const(0, 1), value).as_signed(), Const(0, 1), shift, 0)


def shift_on(m: Module, current: Value, lost: Value, shift: Value, first: int) -> tuple[Value, Value]:
    """``shift_down`` by those bits of a shift that begin with bit ``first``, the lower ones being done."""
    width = len(current)
    for k, bit in enumerate(shift, first):
        step = min(1 << k, width)
        lost = named(m, Mux(bit, lost | current[:step].any(), lost), f"lost_{k + 1}")
        current = named(m, Mux(bit, current >> step, current).as_signed(), f"shifted_{k + 1}")
    return current, lost


def round_even(quotient: Value, lost: Value) -> Value:
    """The result of ``shift_down`` as a signed whole number, rounded half to even."""
    floor, half = quotient[1:].as_signed(), quotient[0]
    return (floor + (half & (lost | floor[0])))[: len(floor)].as_signed()


class Requantizer(wiring.Component):
    """One sum in, one result out, ``latency`` enables later; ``enable[k]`` loads stage k.

    ``sum``: exact sum, ``total_width`` bits. ``parameters``: of its output, presented one enable after ``sum`` (a
    memory's read latency). ``biased``: add the bias. ``scaled``: multiply, shift, round and clamp to ``act_width``
    bits. ``result``: signed, ``result_width`` bits. The modes must not change while sums are under way.
    """

    latency = 8

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "sum": In(signed(cfg.total_width)),
                "parameters": In(parameters()),
                "biased": In(1),
                "scaled": In(1),
                "enable": In(self.latency),
                "result": Out(signed(cfg.result_width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        total = delay(m, self.enable[:1], self.sum, "sum")
        bias = Mux(self.biased, self.parameters.bias, 0).as_signed()
        biased = delay(m, self.enable[1:2], named(m, total + bias, "biased_sum"), "biased")
        # An exact result is one times the sum: it needs no registers of its own.
        factor = delay(m, self.enable[1:2], Mux(self.scaled, self.parameters.multiplier, 1), "factor")
        shift = delay(m, self.enable[1:4], Mux(self.scaled, self.parameters.shift, 0), "shift")
        product = self._product(m, biased, factor)
        fine = shift_on(m, Cat(Const(0, 1), product).as_signed(), Const(0, 1), shift[:FINE_BITS], 0)
        coarse_shift = delay(m, self.enable[4:5], shift[FINE_BITS:], "coarse_shift")
        coarse = shift_on(m, *self._stage(m, 4, fine, "fine"), coarse_shift, FINE_BITS)
        rounded = round_even(*self._stage(m, 5, coarse, "coarse"))
        rounded = delay(m, self.enable[6:7], named(m, rounded, "rounded_sum"), "rounded")
        chosen = Mux(self.scaled, saturate(rounded, cfg.act_width), saturate(rounded, cfg.result_width)).as_signed()
        result = Signal(signed(cfg.result_width), reset_less=True)
        with m.If(self.enable[7]):
            m.d.sync += result.eq(chosen)
        m.d.comb += self.result.eq(result)
        return m

    def _product(self, m: Module, biased: Value, factor: Value) -> Value:
        """The sum times its factor, in stages 2 (products of parts) and 3 (their sum)."""
        parts = []
        for low in range(0, len(biased), PART_BITS):
            part = biased[low : low + PART_BITS]
            signed_part = part.as_signed() if low + PART_BITS >= len(biased) else part
            product = delay(m, self.enable[2:3], named(m, signed_part * factor, f"part_{low}"), f"product_{low}")
            moved = Cat(Const(0, low), product) if low else product
            parts.append(moved.as_signed() if product.shape().signed else moved)
        width = len(biased) + len(factor)
        return Value.cast(
            delay(m, self.enable[3:4], named(m, sum(parts[1:], parts[0])[:width].as_signed(), "scaled_sum"), "product")
        )

    def _stage(self, m: Module, k: int, shifted: tuple[Value, Value], name: str) -> tuple[Value, Value]:
        """Registers of stage ``k`` for what ``shift_on`` returns."""
        quotient, lost = (delay(m, self.enable[k : k + 1], v, f"{name}_{n}") for n, v in enumerate(shifted))
        return quotient, lost
