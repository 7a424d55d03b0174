"""What the epilogue needs to know of a token: exponent, shift and gain."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.banks import BankedMemory
from flexnm_rtl.config import EXPONENT_WIDTH, GAIN_WIDTH, Config, bits_for, ceil_div


class TokenTable(wiring.Component):
    """A memory by token for each of the three that the design has, written as they become known.

    ``read``: token to look up; what is found is shown in the next cycle. ``write_exponent``, ``write_shift``,
    ``write_gain``: store the value of the port ``exponent_in`` (``shift_in``, ``gain_in``) for the token of
    ``exponent_token`` (``shift_token``, ``gain_token``). ``gains``: tokens whose gain can be looked up, counted from
    ``start`` on; gains must come in the order of the tokens. Tokens that only fill up a group have entries too.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.kinds = {"exponent": EXPONENT_WIDTH} if cfg.static_shift else {}
        self.kinds |= {"shift": cfg.shift_width} if cfg.token_shift else {}
        self.kinds |= {"gain": GAIN_WIDTH} if cfg.variance else {}
        self.depth = ceil_div(cfg.tokens_max, cfg.rows) * cfg.rows
        index = bits_for(self.depth)
        ports: dict[str, wiring.Member] = {"read": In(index), "start": In(1)}
        for name, width in self.kinds.items():
            shape = signed(width) if name == "shift" else width
            ports |= {f"write_{name}": In(1), f"{name}_token": In(index), f"{name}_in": In(shape), name: Out(shape)}
        ports |= {"gains": Out(range(self.depth + 1))} if cfg.variance else {}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, width in self.kinds.items():
            m.submodules[name] = store = BankedMemory(1, width, self.depth)
            m.d.comb += [
                store.write.eq(getattr(self, f"write_{name}")),
                store.write_addr.eq(getattr(self, f"{name}_token")),
                store.data.eq(getattr(self, f"{name}_in")),
                store.read.eq(1),
                store.read_addr.eq(self.read),
                Value.cast(getattr(self, name)).eq(store.value),
            ]
        if self.cfg.variance:
            # A memory word can be read in the cycle after its write, and is shown one cycle later.
            written = Signal()
            m.d.sync += [written.eq(self.write_gain), self.gains.eq(self.gains + written)]
            with m.If(self.start):
                m.d.sync += [written.eq(0), self.gains.eq(0)]
        return m
