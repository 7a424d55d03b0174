"""Payload layouts of the streams.

Bit order everywhere: the first field and element 0 of an array sit in the least significant bits. Values are two's
complement, metadata is unsigned.
"""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from flexnm_rtl.config import Config, ScoreFactor


def activations(cfg: Config) -> data.ArrayLayout:
    """The ``M`` channels of a dense block, signed, channel 0 lowest."""
    return data.ArrayLayout(signed(cfg.act_width), cfg.m_group)


def values(cfg: Config) -> data.ArrayLayout:
    """The ``M`` channels of a dense block as they are selected, signed, channel 0 lowest."""
    return data.ArrayLayout(signed(cfg.value_width), cfg.m_group)


def factors(cfg: Config) -> data.ArrayLayout:
    """The ``M`` factors of a block's scores, unsigned, channel 0 lowest."""
    return data.ArrayLayout(unsigned(cfg.factor_width), cfg.m_group)


def kept_values(cfg: Config) -> data.ArrayLayout:
    """The ``N`` kept values of a block, signed, in ascending channel order."""
    return data.ArrayLayout(signed(cfg.value_width), cfg.n_keep)


def dense_in(cfg: Config) -> data.StructLayout:
    """A dense block on its way into a unit.

    ``values``: M signed values. ``keep``: bit i set when channel i is a real channel, clear when it is padding
    (the value is then taken as 0); set bits are contiguous from bit 0, as in the last beat of an AXI4-Stream packet.
    ``last``: last block of the token.
    """
    return data.StructLayout({"values": values(cfg), "keep": unsigned(cfg.m_group), "last": unsigned(1)})


def scored_in(cfg: Config) -> data.StructLayout:
    """A dense block on its way into a selection: ``dense_in``, and ``factors`` on top in a design that has them."""
    if cfg.score_factor is ScoreFactor.NONE:
        return dense_in(cfg)
    return data.StructLayout({**{name: field.shape for name, field in dense_in(cfg)}, "factors": factors(cfg)})


def dense_out(cfg: Config) -> data.StructLayout:
    """A dense block restored by a decompressor: ``values`` (dropped channels are 0) and ``last``."""
    return data.StructLayout({"values": values(cfg), "last": unsigned(1)})


def marked(cfg: Config) -> data.StructLayout:
    """A dense block with its selection: ``values``, ``mask`` (bit i set: channel i is kept), ``last``."""
    return data.StructLayout({"values": values(cfg), "mask": unsigned(cfg.m_group), "last": unsigned(1)})


def pattern(cfg: Config) -> data.StructLayout:
    """The pattern of a flexible unit: ``n`` channels of every block of ``FLEXIBLE_GROUPS[level]``."""
    return data.StructLayout({"n": range(cfg.m_group + 1), "level": range(len(cfg.groups))})


def pattern_port(cfg: Config) -> dict[str, wiring.Member]:
    """The port ``pattern`` of the units of a flexible design, none in others."""
    return {"pattern": In(pattern(cfg))} if cfg.flexible else {}


def block(cfg: Config) -> data.StructLayout:
    """A compressed block: ``values`` (N signed kept values) and ``metadata`` (see ``flexnm_model.metadata``)."""
    return data.StructLayout({"values": kept_values(cfg), "metadata": unsigned(cfg.metadata_width)})


def compressed(cfg: Config) -> data.StructLayout:
    """One beat of a compressed token: ``block`` and ``last`` (last block of the token)."""
    return data.StructLayout({"block": block(cfg), "last": unsigned(1)})


def dense_beat(cfg: Config) -> data.StructLayout:
    """One beat of a token for the array's dense mode: ``compressed`` with ``hold``, as in ``array_acts``."""
    return data.StructLayout({"block": block(cfg), "hold": unsigned(1), "last": unsigned(1)})


def array_acts(cfg: Config) -> data.StructLayout:
    """One beat of activations for the array.

    ``blocks``: one compressed block per row, all of the same M channels. ``hold``: the next beat uses the same
    weights, so they are not consumed (dense mode). ``last``: last beat of the token group; ignored with ``hold``.
    """
    return data.StructLayout(
        {"blocks": data.ArrayLayout(block(cfg), cfg.rows), "hold": unsigned(1), "last": unsigned(1)}
    )


def array_weights(cfg: Config) -> data.ArrayLayout:
    """One beat of weights for the array: ``cols`` outputs times ``M`` channels, signed, output 0 lowest."""
    return data.ArrayLayout(data.ArrayLayout(signed(cfg.weight_width), cfg.m_group), cfg.cols)


def array_results(cfg: Config) -> data.StructLayout:
    """One beat of results: ``sums``, the ``cols`` signed accumulators of one row; ``last`` with the last row."""
    return data.StructLayout({"sums": data.ArrayLayout(signed(cfg.acc_width), cfg.cols), "last": unsigned(1)})
