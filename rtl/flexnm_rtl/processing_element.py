"""One processing element: picks its weights by position, multiplies, accumulates."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import pick
from flexnm_rtl.compaction import network_of
from flexnm_rtl.config import Config
from flexnm_rtl.operands import has_network, lanes_route, visible_weights
from flexnm_rtl.pipeline import stage


def element_latency(cfg: Config) -> int:
    """Cycles from the operands of a processing element to its sum."""
    return 3 if cfg.short_stages else 2


class ProcessingElement(wiring.Component):
    """``lanes`` multipliers, multiplexers that choose their weights, one exact accumulator.

    ``values[l]``: a kept activation. ``route``: with all lanes side by side the ``moves`` that bring the weights of the
    kept channels through a ``CompactionNetwork``; with lanes in time the offset of each lane, whose weight is
    ``weights[l + offset]``, by a (M-N+1):1 multiplexer. The products are registered in every cycle. ``accumulate``
    adds the sum of those of the cycle before to ``total``, which starts from 0 with ``clear``. ``total`` is valid
    ``latency`` = 2 cycles after its last operands.
    With ``short_stages`` values, chosen weights and both strobes are registered first, in every element: no other one
    reaches across the array. ``latency`` is 3, ``accumulate`` comes the cycle after its operands as ever.
    Signed throughout; ``total`` cannot overflow for K <= k_max, whatever the data.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.latency = element_latency(cfg)
        super().__init__(
            {
                "values": In(data.ArrayLayout(signed(cfg.value_width), cfg.lanes)),
                "route": In(lanes_route(cfg)),
                "weights": In(data.ArrayLayout(signed(cfg.weight_width), visible_weights(cfg))),
                "accumulate": In(1),
                "clear": In(1),
                "total": Out(signed(cfg.acc_width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        accumulate = stage(m, cfg.short_stages, self.accumulate, "accumulate_here", reset_less=False)
        clear = stage(m, cfg.short_stages, self.clear, "clear_here")
        products = []
        for lane, chosen in enumerate(self._chosen(m)):
            weight = stage(m, cfg.short_stages, chosen.as_signed(), f"weight_{lane}")
            value = stage(m, cfg.short_stages, self.values[lane], f"value_{lane}")
            product = Signal(signed(cfg.product_width), name=f"product_{lane}", reset_less=True)
            # Multipliers recode their second operand: the value is there before the weight is chosen.
            m.d.sync += product.eq(weight * value)
            products.append(product)

        total = Signal(signed(cfg.acc_width), reset_less=True)
        with m.If(accumulate):
            m.d.sync += total.eq(Mux(clear, 0, total) + sum(products[1:], products[0]))
        m.d.comb += self.total.eq(total)
        return m

    def _chosen(self, m: Module) -> list[Value]:
        """The weight of each lane."""
        weights = list(self.weights)
        if has_network(self.cfg):
            return network_of(self.cfg).apply(m, weights, Value.cast(self.route), "weights")
        window = self.cfg.window
        return [pick(weights[lane : lane + window], self.route[lane]) for lane in range(self.cfg.lanes)]
