"""Operand registers of the array: a block of activations and weights, shifted past the lanes step by step."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.compaction import network_of
from flexnm_rtl.config import Config
from flexnm_rtl.layouts import kept_values
from flexnm_rtl.pipeline import stage


class ShiftBank(wiring.Component):
    """``count`` elements of ``width`` bits: ``load`` takes all of them, ``shift`` moves them down by ``step``.

    ``head`` shows the lowest ``visible`` elements. With a ``step`` of 0 none ever move. Time-unrolling a block this
    way keeps every lane's multiplexer at M-N+1 inputs: after s shifts lane l finds channel ``l + offset`` where channel
    ``s*lanes + l + offset`` was. ``registered``: all inputs pass a register first, so that no strobe from elsewhere has
    to reach all of the bank's registers in the cycle in which it is made.
    """

    def __init__(self, count: int, width: int, *, step: int, visible: int, registered: bool = False) -> None:
        self.count = count
        self.width = width
        self.step = step
        self.registered = registered
        super().__init__(
            {
                "elements": In(data.ArrayLayout(width, count)),
                "load": In(1),
                "shift": In(1),
                "head": Out(data.ArrayLayout(width, visible)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal(self.count * self.width, reset_less=True)
        elements = stage(m, self.registered, Value.cast(self.elements), "elements_here")
        load = stage(m, self.registered, self.load, "load_here")
        shift = stage(m, self.registered, self.shift, "shift_here")
        with m.If(load):
            m.d.sync += held.eq(elements)
        if self.step:
            with m.Elif(shift):
                m.d.sync += held.eq(held >> (self.step * self.width))
        m.d.comb += Value.cast(self.head).eq(held)
        return m


def visible_weights(cfg: Config) -> int:
    """Weights of a block that the lanes of a processing element can reach."""
    return min(cfg.m_group, cfg.lanes + cfg.window - 1)


def has_network(cfg: Config) -> bool:
    """Whether the lanes of a processing element share a network to their weights.

    With all lanes side by side. With lanes in time each has a multiplexer of its own.
    """
    return cfg.lanes == cfg.n_keep and cfg.window > 1


def block_route(cfg: Config) -> data.ArrayLayout:
    """What leads the lanes of one token to their weights in a block.

    The ``moves`` of a ``CompactionNetwork``, or of each kept value its offset: its channel less its position.
    """
    if has_network(cfg):
        return data.ArrayLayout(unsigned(1), network_of(cfg).move_count)
    return data.ArrayLayout(unsigned(cfg.offset_width), cfg.n_keep)


def lanes_route(cfg: Config) -> data.ArrayLayout:
    """The part of ``block_route`` that the lanes need at a time."""
    whole = block_route(cfg)
    return whole if has_network(cfg) else data.ArrayLayout(whole.elem_shape, cfg.lanes)


def decoded_acts(cfg: Config) -> data.StructLayout:
    """``layouts.array_acts`` with ``block_route`` in the place of metadata."""
    block = data.StructLayout({"values": kept_values(cfg), "route": block_route(cfg)})
    return data.StructLayout({"blocks": data.ArrayLayout(block, cfg.rows), "hold": 1, "last": 1})


def _bank(cfg: Config, count: int, width: int, visible: int) -> ShiftBank:
    # Nothing moves where the lanes see all of a block at once.
    step = cfg.lanes if cfg.steps > 1 else 0
    return ShiftBank(count, width, step=step, visible=visible, registered=cfg.short_stages)


def weight_bank(cfg: Config) -> ShiftBank:
    """The M weights of one output; the lanes see the first ``lanes + M - N``."""
    return _bank(cfg, cfg.m_group, cfg.weight_width, visible_weights(cfg))


def value_bank(cfg: Config) -> ShiftBank:
    """The N kept values of one token; the lanes see the first ``lanes``."""
    return _bank(cfg, cfg.n_keep, cfg.value_width, cfg.lanes)


def route_bank(cfg: Config) -> ShiftBank:
    """The route of one token's block; the lanes see what they need."""
    whole, seen = block_route(cfg), lanes_route(cfg)
    return _bank(cfg, whole.length, whole.elem_shape.width, seen.length)
