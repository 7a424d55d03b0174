"""Operand registers of the array: a block of activations and weights, shifted past the lanes step by step."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import Config
from flexnm_rtl.layouts import kept_values


class ShiftBank(wiring.Component):
    """``count`` elements of ``width`` bits: ``load`` takes all of them, ``shift`` moves them down by ``step``.

    ``head`` shows the lowest ``visible`` elements. Time-unrolling a block this way keeps every lane's multiplexer at
    M-N+1 inputs: after s shifts lane l finds channel ``l + offset`` where channel ``s*lanes + l + offset`` was.
    """

    def __init__(self, count: int, width: int, *, step: int, visible: int) -> None:
        self.count = count
        self.width = width
        self.step = step
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
        with m.If(self.load):
            m.d.sync += held.eq(Value.cast(self.elements))
        with m.Elif(self.shift):
            m.d.sync += held.eq(held >> (self.step * self.width))
        m.d.comb += Value.cast(self.head).eq(held)
        return m


def visible_weights(cfg: Config) -> int:
    """Weights of a block that the lanes of a processing element can reach."""
    return min(cfg.m_group, cfg.lanes + cfg.window - 1)


def one_hot_offsets(cfg: Config) -> bool:
    """Whether a processing element gets its offsets decoded, one bit for each, and not as numbers.

    With all lanes side by side, in standard cells: an and-or multiplexer is smaller than a tree, and the decoding is
    done once for all outputs. With lanes in time, as in FPGAs, whose lookup tables make trees: numbers.
    """
    return cfg.lanes == cfg.n_keep and cfg.window > 1


def offset_bits(cfg: Config) -> int:
    """Bits of an offset as the processing elements get it."""
    return cfg.window if one_hot_offsets(cfg) else cfg.offset_width


def array_offsets(cfg: Config) -> data.ArrayLayout:
    """Of each kept value of a block its channel less its position, as the processing elements get it."""
    return data.ArrayLayout(unsigned(offset_bits(cfg)), cfg.n_keep)


def decoded_acts(cfg: Config) -> data.StructLayout:
    """``layouts.array_acts`` with ``array_offsets`` in the place of metadata."""
    block = data.StructLayout({"values": kept_values(cfg), "offsets": array_offsets(cfg)})
    return data.StructLayout({"blocks": data.ArrayLayout(block, cfg.rows), "hold": 1, "last": 1})


def weight_bank(cfg: Config) -> ShiftBank:
    """The M weights of one output; the lanes see the first ``lanes + M - N``."""
    return ShiftBank(cfg.m_group, cfg.weight_width, step=cfg.lanes, visible=visible_weights(cfg))


def value_bank(cfg: Config) -> ShiftBank:
    """The N kept values of one token; the lanes see the first ``lanes``."""
    return ShiftBank(cfg.n_keep, cfg.value_width, step=cfg.lanes, visible=cfg.lanes)


def offset_bank(cfg: Config) -> ShiftBank:
    """The offsets of the N kept values of one token; the lanes see the first ``lanes``."""
    return ShiftBank(cfg.n_keep, offset_bits(cfg), step=cfg.lanes, visible=cfg.lanes)
