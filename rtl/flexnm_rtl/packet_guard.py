"""Turns a packet of any length into exactly the beats a job needs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class PacketGuard(wiring.Component):
    """Passes the beats of one packet from ``start`` on, until the beat sent while ``final`` is set.

    ``i``: stream of ``data`` and ``last``; nothing is taken before ``start``. ``o``: stream of ``data``.
    A packet that ends early is filled up with zeros, and ``short`` is set for a cycle. When the final beat is not the
    packet's last one, ``long`` is set for a cycle and the rest is thrown away, up to ``last`` or the next ``start``.
    ``abort``: fill up from here on, held until the job has ended; the rest of a packet that has begun is thrown away as
    well. So the number of beats sent is always right.
    """

    def __init__(self, shape: Any) -> None:
        self.shape = shape
        packet = data.StructLayout({"data": shape, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(packet)),
                "o": Out(stream.Signature(shape)),
                "start": In(1),
                "abort": In(1),
                "final": In(1),
                "short": Out(1),
                "long": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        active = Signal()
        filling = Signal()
        draining = Signal()
        inside = Signal()  # of a packet whose last beat is still to come
        moved = Signal()
        m.d.comb += [
            self.o.valid.eq(active & (filling | self.i.valid)),
            Value.cast(self.o.payload).eq(Mux(filling, 0, Value.cast(self.i.p.data))[: Shape.cast(self.shape).width]),
            self.i.ready.eq(draining | (active & ~filling & self.o.ready)),
            moved.eq(self.o.valid & self.o.ready),
            self.short.eq(moved & ~filling & self.i.p.last & ~self.final),
            self.long.eq(moved & ~filling & ~self.i.p.last & self.final),
        ]
        with m.If(draining & self.i.valid & self.i.p.last):
            m.d.sync += draining.eq(0)
        with m.If(self.short):
            m.d.sync += filling.eq(1)
        # Not while an offer waits to be taken: it would change.
        with m.If(self.abort & active & (moved | ~self.o.valid)):
            m.d.sync += filling.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += inside.eq(~self.i.p.last)
        with m.If(moved & self.final):
            m.d.sync += [active.eq(0), filling.eq(0), draining.eq(self.long | (filling & inside))]
        with m.If(self.start):
            m.d.sync += [active.eq(1), filling.eq(0), draining.eq(0), inside.eq(0)]
        return m
