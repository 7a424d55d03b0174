"""What the methods of a token do to its sums, before requantisation."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import (
    BIAS_WIDTH,
    EXPONENT_WIDTH,
    GAIN_FRACTION,
    GAIN_WIDTH,
    PARAMETER_BITS,
    Config,
)
from flexnm_rtl.pipeline import delay
from flexnm_rtl.requantize import round_even, shift_down


def token_ports(cfg: Config) -> dict[str, wiring.Member]:
    """The modes that a design has, and what each of them needs to know of a token."""
    ports: dict[str, wiring.Member] = {}
    if cfg.static_shift:
        ports |= {"static_shift": In(1), "exponent": In(EXPONENT_WIDTH)}
    if cfg.token_shift:
        ports |= {"token_shift": In(1), "shift": In(signed(cfg.shift_width))}
    if cfg.variance:
        ports |= {"variance": In(1), "gain": In(GAIN_WIDTH)}
    return ports


class TokenCorrection(wiring.Component):
    """One sum in, the corrected one out, ``latency`` enables later; ``enable[k]`` loads stage k.

        total = round(sum * gain / 2**12) + shift * row_sum        bias = round(bias / 2**exponent)

    halves to even; each term only in a design that has it and while its mode is set, else the plain sum and bias.
    ``sum``: signed ``acc_width`` bits. ``gain`` (unsigned, 12 bits of fraction), ``exponent``, ``shift`` (signed
    ``shift_width`` bits): of its token, presented with it. ``parameters``: of its output (``requantize.parameters`` and
    the sum of its weights in the low ``row_sum_width`` bits of the second word), presented one enable later.
    ``total``: signed ``total_width`` bits. ``output_parameters``: 64 bits, presented with it. Source of the terms: VAR,
    D-PTS, S-PTS of arXiv 2509.22166; the rule in integers: ``flexnm_model.token_methods``.
    """

    latency = 3

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        super().__init__(
            token_ports(cfg)
            | {
                "sum": In(signed(cfg.acc_width)),
                "parameters": In(cfg.parameter_bits),
                "enable": In(self.latency),
                "total": Out(signed(cfg.total_width)),
                "output_parameters": Out(PARAMETER_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = Signal(signed(self.cfg.total_width), reset_less=True)
        corrected = self._gained(m) + self._shifted_back(m)
        with m.If(self.enable[2]):
            m.d.sync += total.eq(corrected)
        rest = delay(m, self.enable[1:], self.parameters[BIAS_WIDTH:PARAMETER_BITS], "rest")
        m.d.comb += [self.total.eq(total), self.output_parameters.eq(Cat(self._bias(m), rest))]
        return m

    def _gained(self, m: Module) -> Value:
        """The sum with the token's gain, before stage 2."""
        first = delay(m, self.enable[:1], self.sum, "sum")
        plain = delay(m, self.enable[1:2], first, "sum_later")
        if not self.cfg.variance:
            return Value.cast(plain)
        gain = delay(m, self.enable[:1], self.gain, "gain")
        product = Signal(signed(self.cfg.acc_width + GAIN_WIDTH), name="gain_product")
        m.d.comb += product.eq(first * gain)
        product = delay(m, self.enable[1:2], product, "product")
        low = product[: GAIN_FRACTION - 1].any()
        scaled = Signal(signed(self.cfg.acc_width + GAIN_WIDTH - GAIN_FRACTION), name="gained")
        m.d.comb += scaled.eq(round_even(product[GAIN_FRACTION - 1 :].as_signed(), low))
        return Mux(self.variance, scaled, plain).as_signed()

    def _shifted_back(self, m: Module) -> Value:
        """The token's shift times the sum of the output's weights, before stage 2."""
        if not self.cfg.token_shift:
            return Value.cast(0)
        shift = delay(m, self.enable[:1], self.shift, "shift")
        row_sum = self.parameters[PARAMETER_BITS:][: self.cfg.row_sum_width].as_signed()
        product = Signal(signed(self.cfg.shift_width + self.cfg.row_sum_width), name="shift_product")
        # Both factors may be unknown when the mode is off: a simulator takes 0 times something unknown for unknown.
        m.d.comb += product.eq(Mux(self.token_shift, shift * row_sum, 0))
        return Value.cast(delay(m, self.enable[1:2], product, "shift_product"))

    def _bias(self, m: Module) -> Value:
        bias = self.parameters[:BIAS_WIDTH].as_signed()
        plain = delay(m, self.enable[1:2], bias, "bias")
        if not self.cfg.static_shift:
            return Value.cast(delay(m, self.enable[2:], plain, "bias_later"))
        exponent = delay(m, self.enable[:1], self.exponent, "exponent")
        quotient, lost = (
            delay(m, self.enable[1:2], value, name)
            for value, name in zip(shift_down(m, bias, exponent), ("bias_quotient", "bias_lost"), strict=True)
        )
        reduced = Mux(self.static_shift, round_even(quotient, lost)[:BIAS_WIDTH], plain.as_unsigned())
        return Value.cast(delay(m, self.enable[2:], reduced, "bias_reduced"))
