"""Beats of the linear engine's streams, in whole bytes.

A slot holds one block: bit order as in ``layouts``, zero padding on top up to a whole byte.
"""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from flexnm_rtl import layouts
from flexnm_rtl.config import Config


def act_slot(cfg: Config) -> data.FlexibleLayout:
    """A block of one token: ``dense``, M signed values, or ``compressed``, a compressed block, by the job's mode."""
    dense, compressed = layouts.activations(cfg), layouts.block(cfg)
    fields = {"dense": data.Field(dense, 0), "compressed": data.Field(compressed, 0)}
    return data.FlexibleLayout(8 * cfg.act_slot_bytes, fields)


def act_beat(cfg: Config) -> data.ArrayLayout:
    """``act_ports`` slots: the same channels of consecutive tokens, the first token lowest."""
    return data.ArrayLayout(act_slot(cfg), cfg.act_ports)


def weight_slot(cfg: Config) -> data.FlexibleLayout:
    """A block of one output: M signed ``weights``; in a parameter word ``parameter_bits`` of ``requantize``."""
    weights = data.ArrayLayout(signed(cfg.weight_width), cfg.m_group)
    fields = {
        "weights": data.Field(weights, 0),
        "parameter_bits": data.Field(data.ArrayLayout(1, cfg.parameter_slice), 0),
    }
    return data.FlexibleLayout(8 * cfg.weight_slot_bytes, fields)


def weight_beat(cfg: Config) -> data.ArrayLayout:
    """``weight_ports`` slots: the same channels of consecutive outputs, the first output lowest."""
    return data.ArrayLayout(weight_slot(cfg), cfg.weight_ports)


def result_beat(cfg: Config) -> data.ArrayLayout:
    """``result_ports`` exact results, or as many requantised ones as fit, the first one lowest."""
    return data.ArrayLayout(signed(cfg.result_width), cfg.result_ports)
