"""An AXI4-Lite manager as plain coroutines, with every order of address, data and response."""

from __future__ import annotations

from typing import Any

from flexnm_rtl.axi import OKAY, SLVERR

LIMIT = 50
"""Cycles after which an answer counts as missing."""


async def write(
    ctx: Any, bus: Any, address: int, word: int, *, strobes: int = 0xF, lead: int = 0, wait: int = 0
) -> int:
    """Write a word; returns the response.

    lead: cycles the address comes before the data (negative: after it). wait: cycles until the response is taken.
    """
    ctx.set(bus.bready, 0)
    sent = False
    for cycle in range(LIMIT):
        valid = {"aw": cycle >= max(0, -lead), "w": cycle >= max(0, lead)}
        ctx.set(bus.awvalid, valid["aw"])
        ctx.set(bus.awaddr, address if valid["aw"] else 0)
        ctx.set(bus.wvalid, valid["w"])
        ctx.set(bus.wdata, word if valid["w"] else 0)
        ctx.set(bus.wstrb, strobes if valid["w"] else 0)
        ready = ctx.get(bus.awready), ctx.get(bus.wready)
        assert not ctx.get(bus.bvalid), "a response before the request"
        await ctx.tick()
        assert ready[0] == ready[1], "address and data are taken together"
        if ready[0]:
            assert all(valid.values())
            sent = True
            break
    assert sent, "the write was never taken"
    ctx.set(bus.awvalid, 0)
    ctx.set(bus.wvalid, 0)
    return await _response(ctx, bus, "b", wait)


async def read(ctx: Any, bus: Any, address: int, *, wait: int = 0) -> tuple[int, int]:
    """Read a word; returns it and the response. wait: cycles until the response is taken."""
    ctx.set(bus.rready, 0)
    ctx.set(bus.araddr, address)
    ctx.set(bus.arvalid, 1)
    for _ in range(LIMIT):
        ready = ctx.get(bus.arready)
        await ctx.tick()
        if ready:
            break
    ctx.set(bus.arvalid, 0)
    word = ctx.get(bus.rdata)
    response = await _response(ctx, bus, "r", wait)
    return word, response


async def _response(ctx: Any, bus: Any, channel: str, wait: int) -> int:
    """Take the response of channel ``b`` or ``r``; it must be there at once and stay as it is."""
    valid, ready, code = (getattr(bus, channel + name) for name in ("valid", "ready", "resp"))
    assert ctx.get(valid), "no response in the next cycle"
    response: int = ctx.get(code)
    assert response in (OKAY, SLVERR)
    for _ in range(wait):
        await ctx.tick()
        assert ctx.get(valid)
        assert ctx.get(code) == response, "a waiting response changed"
    ctx.set(ready, 1)
    await ctx.tick()
    ctx.set(ready, 0)
    assert not ctx.get(valid), "a response that was taken twice"
    return response
