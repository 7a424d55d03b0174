"""Ends of ready/valid streams, and the clock loop that moves them.

Inputs change at the falling edge; outputs are read in the same time step once everything has settled, which are the
values the next rising edge sees. That holds on any simulator, and one loop for all ends is several times faster than
a coroutine for each. Every end checks the protocol of its stream; a value that is not 0 or 1 fails the test.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from flexnm_tb import stalls

PERIOD_NS = 10


class ProtocolError(AssertionError):
    """A stream broke the ready/valid rules."""


class Source:
    """Offers the words of ``queue`` on an input stream; keeps each stable until it is taken."""

    def __init__(self, dut: Any, name: str, width: int, pauses: Iterator[bool] | None = None, seed: int = 0) -> None:
        self.valid, self.ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.pauses = pauses or stalls.never()
        self.queue: deque[int] = deque()
        self.taken: list[int] = []
        self._offered: int | None = None
        self._garbage = random.Random(seed).getrandbits(width)
        self._idle = False

    def drive(self) -> None:
        """Offer the next word, unless paused; while nothing is offered the payload is garbage."""
        if self._offered is None and not next(self.pauses) and self.queue:
            self._offered = self.queue.popleft()
            self.payload.value = self._offered
            self.valid.value = 1
            self._idle = False
        elif self._offered is None and not self._idle:
            self.payload.value = self._garbage
            self.valid.value = 0
            self._idle = True

    def sample(self, cycle: int) -> None:
        """Note a transfer."""
        if self._offered is not None and int(self.ready.value):
            self._offered = None
            self.taken.append(cycle)

    def clear(self) -> None:
        """Forget everything, for a reset."""
        self.queue.clear()
        self._offered = None
        self._idle = False

    @property
    def empty(self) -> bool:
        """Whether every word was taken."""
        return not self.queue and self._offered is None


class Sink:
    """Takes words from an output stream into ``words``, with their ``cycles``; checks that offers stay stable."""

    def __init__(self, dut: Any, name: str, pauses: Iterator[bool] | None = None) -> None:
        self.valid, self.ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.pauses = pauses or stalls.never()
        self.words: list[int] = []
        self.cycles: list[int] = []
        self._waiting: int | None = None
        self._ready: int | None = None

    def drive(self) -> None:
        """Set ready for this cycle."""
        ready = int(not next(self.pauses))
        if ready != self._ready:
            self.ready.value = ready
            self._ready = ready

    def sample(self, cycle: int) -> None:
        """Check the offer and take it when ready."""
        if not int(self.valid.value):
            if self._waiting is not None:
                raise ProtocolError(f"cycle {cycle}: valid fell before the word was taken")
            return
        word = int(self.payload.value)
        if self._waiting is not None and word != self._waiting:
            raise ProtocolError(f"cycle {cycle}: payload changed from {self._waiting:#x} to {word:#x} while stalled")
        if self._ready:
            self.words.append(word)
            self.cycles.append(cycle)
            self._waiting = None
        else:
            self._waiting = word

    def clear(self) -> None:
        """Forget everything, for a reset."""
        self.words.clear()
        self.cycles.clear()
        self._waiting = None


class Bench:
    """The clock loop over all stream ends of a unit with ports ``clk`` and ``rst``."""

    def __init__(self, dut: Any, ends: Sequence[Source | Sink]) -> None:
        self.dut = dut
        self.ends = ends
        self.cycle = 0

    async def start(self) -> None:
        """Start the clock and reset the unit."""
        self.dut.rst.value = 1
        for end in self.ends:
            end.drive()
        Clock(self.dut.clk, PERIOD_NS, unit="ns").start()
        await self.reset()

    async def reset(self, cycles: int = 2) -> None:
        """Reset for some cycles in which nothing is sampled; the ends forget what was under way."""
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 1
        for end in self.ends:
            end.clear()
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def step(self) -> None:
        """One clock cycle."""
        for end in self.ends:
            end.drive()
        await ReadOnly()
        for end in self.ends:
            end.sample(self.cycle)
        self.cycle += 1
        await FallingEdge(self.dut.clk)

    async def run(self, sink: Sink, words: int, *, timeout: int, idle: int = 20) -> None:
        """Step until ``sink`` holds ``words`` words, then ``idle`` cycles more in which no other may come.

        Fails when that takes more than ``timeout`` cycles, when an input word is left over, or a word too many comes.
        """
        deadline = self.cycle + timeout
        while len(sink.words) < words:
            assert self.cycle < deadline, f"timeout: {len(sink.words)} of {words} words after {timeout} cycles"
            await self.step()
        for _ in range(idle):
            await self.step()
        assert len(sink.words) == words, f"{len(sink.words) - words} words too many"
        left = [end for end in self.ends if isinstance(end, Source) and not end.empty]
        assert not left, f"{len(left)} input streams were not taken to their end"
