"""The sparse MAC array: rows x cols processing elements, output stationary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.drain import ResultDrain
from flexnm_rtl.enumerative import unranked
from flexnm_rtl.enumerative_acts import ActsDecoder
from flexnm_rtl.operands import ShiftBank, decoded_acts, route_bank, value_bank, weight_bank
from flexnm_rtl.positions import RouteDecoder
from flexnm_rtl.processing_element import ProcessingElement, element_latency
from flexnm_rtl.sequencer import Sequencer
from flexnm_rtl.sharing import add_shared


def step_latency(cfg: Config) -> int:
    """Cycles from a step of the sequencer to the sums: with ``short_stages`` operands reach the banks a cycle late."""
    return int(cfg.short_stages) + element_latency(cfg)


class MacArray(wiring.Component):
    """``rows`` tokens times ``cols`` outputs: ``sum[r][c] = sum over kept channels k of x[r][k] * w[c][k]``.

    ``acts``: stream of ``layouts.array_acts``, one beat per block of channels. ``weights``: stream of
    ``layouts.array_weights``, one beat per block of channels, dense; a beat is taken together with the activation
    beat it belongs to, the last one of them when ``hold`` repeats it; with ranks as metadata, once that one has passed
    the ``ActsDecoder``. ``results``: stream of ``layouts.array_results``, ``rows`` beats per token group, row 0 first.
    Throughput: a beat every ``steps`` = N/lanes cycles, without a bubble between beats or token groups as long as
    results leave in time: a group needs ``rows * row_interval(cfg) + group_overhead`` cycles or more. Results leave
    while the next group runs. Latency: ``latency`` cycles from the transfer of a group's last activation beat to its
    first result.
    Dense mode: a dense block travels as ``Config.dense_beats`` beats of N channels each, all but the last with
    ``hold`` (see ``dense_split.DenseSplitter``). All sums are exact for K <= k_max. ``steps``: in a flexible
    design, the cycles of a beat, 1 .. N/lanes, as many as its kept values need; stable while beats are there.
    ``decoded``: the blocks of ``acts`` bring their route in the place of metadata.
    """

    def __init__(self, cfg: Config, *, decoded: bool = False) -> None:
        self.cfg = cfg
        self.decoded = decoded
        self.step_latency = step_latency(cfg)
        self.decoder = ActsDecoder(cfg) if cfg.metadata is Metadata.ENUMERATIVE else None
        before = self.decoder.latency if self.decoder else 0
        self.latency = before + cfg.steps + self.step_latency + 1
        self.group_overhead = self.step_latency + 1
        super().__init__(
            {
                "acts": In(stream.Signature(decoded_acts(cfg) if decoded else layouts.array_acts(cfg))),
                "weights": In(stream.Signature(layouts.array_weights(cfg))),
                "results": Out(stream.Signature(layouts.array_results(cfg))),
            }
            | ({"steps": In(range(cfg.steps + 1))} if cfg.flexible else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        acts = self._masked_acts(m)
        m.submodules.drain = drain = ResultDrain(self.cfg)
        to_capture = self.step_latency - drain.early
        m.submodules.sequencer = seq = Sequencer(self.cfg.steps, to_capture, runtime_steps=self.cfg.flexible)
        if self.cfg.flexible:
            m.d.comb += seq.steps.eq(self.steps)
        m.d.comb += [
            seq.acts_valid.eq(acts.valid),
            acts.ready.eq(seq.acts_ready),
            seq.weights_valid.eq(self.weights.valid),
            self.weights.ready.eq(seq.weights_ready),
            seq.hold.eq(acts.p.hold),
            seq.last.eq(acts.p.last),
            seq.drained.eq(drain.finishing),
            drain.capture.eq(seq.capture),
        ]
        wiring.connect(m, drain.o, wiring.flipped(self.results))
        strobes = {name: self._late(m, getattr(seq, name), name) for name in ("accumulate", "clear")}
        rows = [self._row(m, platform, seq, acts, r) for r in range(self.cfg.rows)]
        cols = [self._bank(m, platform, seq, weight_bank, c, self.weights.p[c]) for c in range(self.cfg.cols)]
        for r, (values, route) in enumerate(rows):
            elements = [self._element(m, platform, strobes, f"pe_{r}_{c}") for c in range(self.cfg.cols)]
            for pe, weights in zip(elements, cols, strict=True):
                m.d.comb += [
                    Value.cast(pe.values).eq(Value.cast(values)),
                    Value.cast(pe.route).eq(Value.cast(route)),
                    Value.cast(pe.weights).eq(Value.cast(weights)),
                ]
            m.d.comb += drain.totals[r].eq(Cat(pe.total for pe in elements))
        return m

    def _masked_acts(self, m: Module) -> stream.Interface:
        """The stream of activations, decoded where their metadata are ranks."""
        if self.decoder is None:
            return self.acts
        m.submodules.decoder = self.decoder
        wiring.connect(m, wiring.flipped(self.acts), self.decoder.i)
        return self.decoder.o

    def _row(self, m: Module, platform: object, seq: Sequencer, acts: stream.Interface, r: int) -> tuple[Value, Value]:
        """What the lanes of row ``r`` see: kept values and the route to their weights."""
        block = acts.p.blocks[r]
        if self.decoded:
            route = block.route
        else:
            decoder = add_shared(m, platform, "route", f"route_{r}", lambda: RouteDecoder(unranked(self.cfg)))
            m.d.comb += decoder.word.eq(block.metadata)
            route = decoder.route
        values = self._bank(m, platform, seq, value_bank, r, block["values"])
        return values, self._bank(m, platform, seq, route_bank, r, route)

    def _bank(
        self, m: Module, platform: object, seq: Sequencer, kind: Callable[[Config], ShiftBank], k: int, elements: Any
    ) -> Value:
        bank = add_shared(m, platform, kind.__name__, f"{kind.__name__}_{k}", lambda: kind(self.cfg))
        m.d.comb += [
            Value.cast(bank.elements).eq(Value.cast(elements)),
            bank.load.eq(seq.load),
            bank.shift.eq(seq.shift),
        ]
        return Value.cast(bank.head)

    def _late(self, m: Module, strobe: Value, name: str) -> Value:
        """A strobe for what comes out of the banks, whose inputs may be registered."""
        if not self.cfg.short_stages:
            return strobe
        register = Signal(name=f"late_{name}")
        m.d.sync += register.eq(strobe)
        return register

    def _element(self, m: Module, platform: object, strobes: dict[str, Value], name: str) -> Any:
        pe = add_shared(m, platform, "pe", name, lambda: ProcessingElement(self.cfg))
        m.d.comb += [getattr(pe, strobe).eq(value) for strobe, value in strobes.items()]
        return pe
