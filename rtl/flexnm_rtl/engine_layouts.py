"""Beats of the linear engine's streams, in whole bytes.

A slot holds one block: bit order as in ``layouts``, zero padding on top up to a whole byte.
"""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from flexnm_rtl import layouts
from flexnm_rtl.config import Config, ceil_div
from flexnm_rtl.requantize import PARAMETER_BITS


def _bytes(bits: int) -> int:
    return 8 * ceil_div(bits, 8)


def act_slot(cfg: Config) -> data.FlexibleLayout:
    """A block of one token: ``dense``, M signed values, or ``compressed``, a compressed block, by the job's mode."""
    dense, compressed = layouts.activations(cfg), layouts.block(cfg)
    fields = {"dense": data.Field(dense, 0), "compressed": data.Field(compressed, 0)}
    return data.FlexibleLayout(_bytes(max(dense.size, compressed.size)), fields)


def act_beat(cfg: Config) -> data.ArrayLayout:
    """``act_ports`` slots: the same channels of consecutive tokens, the first token lowest."""
    return data.ArrayLayout(act_slot(cfg), cfg.act_ports)


def weight_slot(cfg: Config) -> data.FlexibleLayout:
    """A block of one output: M signed ``weights``; in a parameter word ``parameter_bits`` of ``requantize``."""
    weights = data.ArrayLayout(signed(cfg.weight_width), cfg.m_group)
    fields = {
        "weights": data.Field(weights, 0),
        "parameter_bits": data.Field(data.ArrayLayout(1, parameter_slice(cfg)), 0),
    }
    return data.FlexibleLayout(_bytes(weights.size), fields)


def parameter_slice(cfg: Config) -> int:
    """Parameter bits in one slot: all 64, or as many as the slot's weights have."""
    return min(PARAMETER_BITS, cfg.m_group * cfg.weight_width)


def parameter_words(cfg: Config) -> int:
    """Slots that hold the parameters of one output, lowest bits first."""
    return ceil_div(PARAMETER_BITS, parameter_slice(cfg))


def weight_beat(cfg: Config) -> data.ArrayLayout:
    """``weight_ports`` slots: the same channels of consecutive outputs, the first output lowest."""
    return data.ArrayLayout(weight_slot(cfg), cfg.weight_ports)


def result_beat(cfg: Config) -> data.ArrayLayout:
    """``result_ports`` exact results, or as many requantised ones as fit, the first one lowest."""
    return data.ArrayLayout(signed(cfg.result_width), cfg.result_ports)
