"""Watches on AXI channels that a unit drives: offers stay as they are until taken, and nothing is ever unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flexnm_tb.streams import ProtocolError


class Watch:
    """Checks the channel whose signals begin with ``prefix``: valid, ready, and the ``payload`` while it is offered."""

    def __init__(self, dut: Any, prefix: str, payload: Sequence[str]) -> None:
        self.prefix = prefix
        self.valid, self.ready = getattr(dut, f"{prefix}valid"), getattr(dut, f"{prefix}ready")
        self.payload = [getattr(dut, f"{prefix}{name}") for name in payload]
        self.transfers = 0
        self._waiting: list[int] | None = None

    def sample(self, cycle: int) -> None:
        """Check one cycle, before its clock edge takes effect. Raises ProtocolError, and ValueError for an X."""
        if not int(self.valid.value):
            if self._waiting is not None:
                raise ProtocolError(f"{self.prefix}: valid fell before the offer was taken (cycle {cycle})")
            return
        offer = [int(signal.value) for signal in self.payload]
        if self._waiting is not None and offer != self._waiting:
            raise ProtocolError(f"{self.prefix}: {self._waiting} became {offer} while it waited (cycle {cycle})")
        taken = bool(int(self.ready.value))
        self._waiting = None if taken else offer
        if taken:
            self.transfers += 1
            self.check(offer, cycle)

    def check(self, offer: list[int], cycle: int) -> None:
        """More rules for what was transferred."""

    def clear(self) -> None:
        """Forget what was offered, for a reset."""
        self._waiting = None


class StreamWatch(Watch):
    """An AXI4-Stream with ``tkeep``: whole beats, except that the last one of a packet may end early."""

    def __init__(self, dut: Any, name: str) -> None:
        super().__init__(dut, f"{name}_t", ["data", "keep", "last"])
        self.full = (1 << len(self.payload[1])) - 1

    def check(self, offer: list[int], cycle: int) -> None:
        """``tkeep`` is all ones, in a last beat ones from bit 0 up."""
        _, keep, last = offer
        if keep != self.full and not (last and keep and keep & (keep + 1) == 0):
            raise ProtocolError(f"{self.prefix}: tkeep {keep:#x} in a beat with last={last} (cycle {cycle})")
