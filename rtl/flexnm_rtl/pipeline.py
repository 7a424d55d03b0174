"""Ready/valid control of a pipeline of registers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class StageControl(wiring.Component):
    """Valid bits and load enables of ``depth`` register stages.

    A stage loads when it is empty or the next one takes its content, so bubbles close up under back-pressure and a
    full pipeline moves one beat a cycle. ``enable[k]`` loads the data registers of stage k; ``o_valid`` comes from a
    register; ``i_ready`` depends on ``o_ready`` in the same cycle. Latency: ``depth`` cycles without back-pressure.
    ``rigid``: all stages stand still while the last one waits, so bubbles stay; in return nothing looks through the
    valid bits of a deep pipeline.
    """

    def __init__(self, depth: int, *, rigid: bool = False) -> None:
        self.depth = depth
        self.rigid = rigid
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
            m.d.comb += ready[k].eq(~valid[-1] | self.o_ready if self.rigid else ~valid[k] | ready[k + 1])
            m.d.comb += self.enable[k].eq(ready[k] & incoming[k])
            with m.If(ready[k]):
                m.d.sync += valid[k].eq(incoming[k])
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
