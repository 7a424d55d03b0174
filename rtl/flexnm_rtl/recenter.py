"""The shifts of the methods S-PTS, L-PTS and D-PTS: what is subtracted from a block before the selection."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.config import CHANNEL_SHIFT_WIDTH, EXPONENT_WIDTH, Config
from flexnm_rtl.pipeline import delay
from flexnm_rtl.requantize import round_even, saturate, shift_down


class Recenter(wiring.Component):
    """A block of activations in, its values out, ``latency`` enables later; ``enable[k]`` loads stage k.

        value = clamp(x * 2**f - round(channel_shift / 2**exponent) - shift, signed value_width bits)

    f is ``fraction_bits``; halves to even. ``activations``: M signed numbers. ``channel_shifts`` (M signed numbers of
    16 bits), ``exponent``: in a design with ``static_shift``, and counted while the port ``static_shift`` is set.
    ``shift``: signed, ``shift_width`` bits, likewise with ``token_shift``. All are presented together.
    """

    latency = 2

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        ports: dict[str, wiring.Member] = {}
        if cfg.static_shift:
            shifts = data.ArrayLayout(signed(CHANNEL_SHIFT_WIDTH), cfg.m_group)
            ports |= {"static_shift": In(1), "channel_shifts": In(shifts), "exponent": In(EXPONENT_WIDTH)}
        if cfg.token_shift:
            ports |= {"token_shift": In(1), "shift": In(signed(cfg.shift_width))}
        super().__init__(
            ports
            | {
                "activations": In(layouts.activations(cfg)),
                "enable": In(self.latency),
                "values": Out(layouts.values(cfg)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        shift: Value = Const(0, signed(1))
        if cfg.token_shift:
            shift = delay(m, self.enable[:1], Mux(self.token_shift, self.shift, 0).as_signed(), "shift")
        for i in range(cfg.m_group):
            activation = delay(m, self.enable[:1], self.activations[i], f"activation_{i}")
            exact = Cat(Const(0, cfg.fraction_bits), activation).as_signed() - shift
            if cfg.static_shift:
                exact = exact - delay(m, self.enable[:1], self._channel_shift(m, i), f"channel_shift_{i}")
            wide = Signal(exact.shape(), name=f"exact_{i}")
            m.d.comb += wide.eq(exact)
            value = delay(m, self.enable[1:], saturate(wide, cfg.value_width), f"value_{i}")
            m.d.comb += self.values[i].eq(value)
        return m

    def _channel_shift(self, m: Module, i: int) -> Signal:
        reduced = Signal(signed(CHANNEL_SHIFT_WIDTH), name=f"reduced_{i}")
        rounded = round_even(*shift_down(m, self.channel_shifts[i], self.exponent))
        m.d.comb += reduced.eq(Mux(self.static_shift, rounded, 0))
        return reduced
