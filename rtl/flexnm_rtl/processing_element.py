"""One processing element: picks its weights by position, multiplies, accumulates."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import any_of, gate, pick
from flexnm_rtl.config import Config
from flexnm_rtl.operands import offset_bits, one_hot_offsets, visible_weights


def element_latency(cfg: Config) -> int:
    """Cycles from the operands of a processing element to its sum."""
    return 3 if cfg.short_stages else 2


class ProcessingElement(wiring.Component):
    """``lanes`` multipliers behind (M-N+1):1 weight multiplexers, one exact accumulator.

    ``values[l]``, ``offsets[l]``: a kept activation and its offset, a number or, with ``one_hot_offsets``, bit d set
    for d; lane l multiplies it with ``weights[l + offset]``. ``multiply``: registers the products. ``accumulate``, one
    cycle later: adds their sum to ``total``, which starts from 0 with ``clear``. ``total`` is valid ``latency`` = 2
    cycles after ``multiply``.
    With ``short_stages`` values and chosen weights are registered first: ``multiply`` comes a cycle after the
    ``values``, ``offsets`` and ``weights`` it belongs to, and ``latency`` counts from those.
    Signed throughout; ``total`` cannot overflow for K <= k_max, whatever the data.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.latency = element_latency(cfg)
        super().__init__(
            {
                "values": In(data.ArrayLayout(signed(cfg.value_width), cfg.lanes)),
                "offsets": In(data.ArrayLayout(unsigned(offset_bits(cfg)), cfg.lanes)),
                "weights": In(data.ArrayLayout(signed(cfg.weight_width), visible_weights(cfg))),
                "multiply": In(1),
                "accumulate": In(1),
                "clear": In(1),
                "total": Out(signed(cfg.acc_width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        operands = "sync" if cfg.short_stages else "comb"
        products = []
        for lane in range(cfg.lanes):
            candidates = self.weights[lane : lane + cfg.window]
            weight = Signal(signed(cfg.weight_width), name=f"weight_{lane}", reset_less=True)
            product = Signal(signed(cfg.product_width), name=f"product_{lane}", reset_less=True)
            chosen = self._chosen(candidates, self.offsets[lane])
            value = Signal(signed(cfg.value_width), name=f"value_{lane}", reset_less=True)
            m.d[operands] += [weight.eq(chosen), value.eq(self.values[lane])]
            with m.If(self.multiply):
                m.d.sync += product.eq(value * weight)
            products.append(product)

        total = Signal(signed(cfg.acc_width), reset_less=True)
        with m.If(self.accumulate):
            m.d.sync += total.eq(Mux(self.clear, 0, total) + sum(products[1:], products[0]))
        m.d.comb += self.total.eq(total)
        return m

    def _chosen(self, candidates: list[Value], offset: Value) -> Value:
        if one_hot_offsets(self.cfg):
            return any_of([gate(hit, weight) for hit, weight in zip(offset, candidates, strict=False)])
        return pick(candidates, offset)
