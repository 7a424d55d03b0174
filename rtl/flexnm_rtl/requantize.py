"""Requantisation of exact sums. The rule stands in ``flexnm_model.requantize``; this is its hardware."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import BIAS_WIDTH, MULTIPLIER_WIDTH, PARAMETER_BITS, SHIFT_WIDTH, Config
from flexnm_rtl.pipeline import delay


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
    width = len(value) + 1
    current = _named(m, Cat(Const(0, 1), value).as_signed(), "shifted_0")
    lost = _named(m, Const(0, 1), "lost_0")
    for k, bit in enumerate(shift):
        step = min(1 << k, width)
        lost = _named(m, Mux(bit, lost | current[:step].any(), lost), f"lost_{k + 1}")
        current = _named(m, Mux(bit, current >> step, current).as_signed(), f"shifted_{k + 1}")
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

    latency = 5

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
        biased = delay(m, self.enable[1:2], _named(m, total + bias, "biased_sum"), "biased")
        factor = delay(m, self.enable[1:2], self.parameters.multiplier, "factor")
        shift = delay(m, self.enable[1:3], self.parameters.shift, "shift")
        product = delay(m, self.enable[2:3], _named(m, biased * factor, "scaled_sum"), "product")
        exact = delay(m, self.enable[2:4], biased, "exact")
        quotient, lost = (
            delay(m, self.enable[3:4], value, name)
            for value, name in zip(shift_down(m, product, shift), ("quotient", "lost"), strict=True)
        )
        scaled = saturate(_named(m, round_even(quotient, lost), "rounded"), cfg.act_width)
        chosen = Mux(self.scaled, scaled, saturate(exact, cfg.result_width)).as_signed()
        result = Signal(signed(cfg.result_width), reset_less=True)
        with m.If(self.enable[4]):
            m.d.sync += result.eq(chosen)
        m.d.comb += self.result.eq(result)
        return m


def _named(m: Module, value: Value, name: str) -> Signal:
    signal = Signal(value.shape(), name=name)
    m.d.comb += signal.eq(value)
    return signal
