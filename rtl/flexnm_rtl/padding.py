"""Which channels of a block are real and which are padding."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.loops import LoopNest


def real_channels(m: Module, cfg: Config, walk: LoopNest, channels: Value) -> Signal:
    """Bit i: channel i of the block where ``walk`` stands is one of the job's ``channels``; from a register.

    ``walk`` has the loops ``chunk`` and, around it, ``k``, whose limit is ``channels``.
    """
    keep = Signal(cfg.m_group, reset_less=True)
    first, following = (_reached(left, cfg.m_group) for left in (channels, walk.k_left - cfg.m_group))
    with m.If(walk.start):
        m.d.sync += keep.eq(first)
    with m.Elif(walk.advance & walk.chunk_last):
        m.d.sync += keep.eq(Mux(walk.k_last, first, following))
    return keep


def _reached(left: Value, group: int) -> Value:
    """Bit i: ``left`` > i. Few bits of ``left`` are compared: a carry chain would be longer."""
    bits = bits_for(group)
    low, beyond = left[:bits], left[bits:].any()
    return Cat(beyond | low.matches(*range(i + 1, 1 << bits)) for i in range(group))
