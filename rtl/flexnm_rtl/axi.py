"""AXI4-Stream and AXI4-Lite at the edge of a unit. Signals have AMBA's names in lower case."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

OKAY, SLVERR = 0b00, 0b10


def axi_stream(shape: Any, *, keep: bool = False) -> wiring.Signature:
    """AXI4-Stream as the transmitter sees it. ``shape``: of ``tdata``, whole bytes; ``keep``: with ``tkeep``."""
    width = Shape.cast(shape).width
    if width % 8:
        raise ValueError(f"tdata of {width} bits is not a whole number of bytes")
    members = {"tdata": Out(shape), "tlast": Out(1), "tvalid": Out(1), "tready": In(1)}
    return wiring.Signature(members | ({"tkeep": Out(width // 8)} if keep else {}))


def axi_read(address_width: int, data_width: int) -> wiring.Signature:
    """The read channels of AXI4 as the manager sees them, with one ID."""
    return wiring.Signature(
        {
            "arid": Out(1),
            "araddr": Out(address_width),
            "arlen": Out(8),
            "arsize": Out(3),
            "arburst": Out(2),
            "arcache": Out(4),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rid": In(1),
            "rdata": In(data_width),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def axi_lite(addr_width: int) -> wiring.Signature:
    """AXI4-Lite with 32 data bits as the manager sees it."""
    return wiring.Signature(
        {
            "awaddr": Out(addr_width),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(addr_width),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )
