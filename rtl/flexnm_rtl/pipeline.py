"""Ready/valid control of a pipeline of registers."""

from __future__ import annotations

from enum import Enum
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Waiting(Enum):
    """What the stages of a ``StageControl`` do while the last one waits.

    ELASTIC: those behind a bubble close up, so a full pipeline moves a beat a cycle; ``i_ready`` looks through all
    stages at ``o_ready``. RIGID: all stand still, so bubbles stay; nothing looks through the valid bits of a deep
    pipeline. SPACED: a stage takes a beat only when it was empty, so ``i_ready`` and all enables but the first come
    from registers alone; in return a beat moves every other cycle at most.
    """

    ELASTIC = "elastic"
    RIGID = "rigid"
    SPACED = "spaced"


class StageControl(wiring.Component):
    """Valid bits and load enables of ``depth`` register stages.

    ``enable[k]`` loads the data registers of stage k; ``o_valid`` comes from a register. Latency: ``depth`` cycles
    without back-pressure.
    """

    def __init__(self, depth: int, waiting: Waiting = Waiting.ELASTIC) -> None:
        self.depth = depth
        self.waiting = waiting
        super().__init__(
            {
                "i_valid": In(1),
                "i_ready": Out(1),
                "o_valid": Out(1),
                "o_ready": In(1),
                "enable": Out(depth),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid = Signal(self.depth)
        ready = [Signal(name=f"ready_{k}") for k in range(self.depth)] + [self.o_ready]
        incoming = Cat(self.i_valid, valid)
        for k in range(self.depth):
            free = {
                Waiting.ELASTIC: ~valid[k] | ready[k + 1],
                Waiting.RIGID: ~valid[-1] | self.o_ready,
                Waiting.SPACED: ~valid[k],
            }
            m.d.comb += [ready[k].eq(free[self.waiting]), self.enable[k].eq(ready[k] & incoming[k])]
            with m.If(ready[k]):
                m.d.sync += valid[k].eq(incoming[k])
            if self.waiting is Waiting.SPACED:
                with m.Elif(ready[k + 1]):
                    m.d.sync += valid[k].eq(0)
        m.d.comb += [self.i_ready.eq(ready[0]), self.o_valid.eq(valid[-1])]
        return m


def stage(m: Module, registered: bool, value: Any, name: str, *, reset_less: bool = True) -> Signal:
    """``value``, with its sign, from a register if ``registered`` says so, else as it is."""
    signal = Signal(Value.cast(value).shape(), name=name, reset_less=reset_less)
    m.d["sync" if registered else "comb"] += signal.eq(value)
    return signal


def delay(m: Module, enable: Any, signal: Any, name: str) -> Any:
    """``signal`` after one data register per bit of ``enable``; registers have no reset."""
    current = signal
    for k in range(len(enable)):
        register = Signal.like(current, name=f"{name}_{k}", reset_less=True)
        with m.If(enable[k]):
            m.d.sync += register.eq(current)
        current = register
    return current
