"""A memory behind AXI4 read channels for benches in Amaranth's simulator; checks the manager's half of the protocol."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from flexnm_rtl.axi import OKAY, SLVERR

AR = ("araddr", "arlen", "arsize", "arburst", "arcache", "arprot", "arid")


@dataclass
class Burst:
    """A burst that was taken: where it goes on, beats left, first cycle of its next beat."""

    address: int
    beats: int
    ready_at: int


@dataclass
class AxiMemory:
    """Answers bursts in order. Call ``drive`` when a cycle begins and ``sample`` when all inputs of the DUT are set.

    latency: cycles from a burst's acceptance to its first beat. accept, give: chance of ARREADY, and of a beat that is
    due being offered, in a cycle. bad: addresses whose beats are answered with SLVERR.
    """

    bus: Any
    width: int
    rng: random.Random
    latency: int = 3
    accept: float = 1.0
    give: float = 1.0
    bad: range = range(0)
    bursts: deque[Burst] = field(default_factory=deque)
    requests: list[tuple[int, int, int]] = field(default_factory=list)
    """Address, beats and cycle of every burst that was taken."""
    offers: list[tuple[int, int]] = field(default_factory=list)
    """Address of every burst that was offered, and the cycle in which that began."""
    most: int = 0
    """Largest number of bursts under way."""
    given: int = 0
    _waiting: tuple[int, ...] | None = None
    _offered: bool = False

    def word(self, address: int) -> int:
        """What lies at an address."""
        return random.Random(address).getrandbits(self.width)

    def drive(self, ctx: Any, cycle: int) -> None:
        """Set ARREADY and the data channel; a beat that is offered stays until it is taken."""
        bus = self.bus
        ctx.set(bus.arready, self.rng.random() < self.accept)
        if not self._offered and self.bursts and cycle >= self.bursts[0].ready_at and self.rng.random() < self.give:
            burst = self.bursts[0]
            ctx.set(bus.rdata, self.word(burst.address))
            ctx.set(bus.rresp, SLVERR if burst.address in self.bad else OKAY)
            ctx.set(bus.rlast, burst.beats == 1)
            self._offered = True
        elif not self._offered:
            ctx.set(bus.rdata, self.rng.getrandbits(self.width))
            ctx.set(bus.rresp, self.rng.randint(0, 3))
        ctx.set(bus.rvalid, self._offered)

    def sample(self, ctx: Any, cycle: int) -> bool:
        """Take a burst that is offered and note a beat that is taken; returns whether that beat was a bad one."""
        bus, size = self.bus, self.width // 8
        valid, now = ctx.get(bus.arvalid), tuple(ctx.get(getattr(bus, name)) for name in AR)
        ready = ctx.get(bus.arready)
        assert self._waiting is None or (valid and now == self._waiting), "an address changed before it was taken"
        if valid and self._waiting is None:
            self.offers.append((now[0], cycle))
        self._waiting = now if valid and not ready else None
        bad = False
        if self._offered and ctx.get(bus.rready):
            burst = self.bursts[0]
            bad = burst.address in self.bad
            self._offered = False
            self.given += 1
            burst.address += size
            burst.beats -= 1
            if not burst.beats:
                self.bursts.popleft()
        if valid and ready:
            address, beats = now[0], now[1] + 1
            assert now[2] == size.bit_length() - 1, "beats as wide as the bus"
            assert now[3] == 1, "an INCR burst"
            assert address % size == 0
            assert address % 4096 + beats * size <= 4096, "a burst across a 4 KB boundary"
            self.bursts.append(Burst(address, beats, cycle + self.latency))
            self.requests.append((address, beats, cycle))
            self.most = max(self.most, len(self.bursts))
        return bad
