"""What a stream of words with ``valid`` and ``ready`` promises: assumptions on inputs, assertions on outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Assume, Cat, Const, Cover, Elaboratable, Module, Mux, ResetInserter, Signal, Value
from flexnm_rtl.config import bits_for

from flexnm_tb.formal.proof import COVER, Circuit, Proof, check
from flexnm_tb.formal.rules import implies, named


@dataclass(frozen=True)
class Port:
    """A stream as one sees it from outside: conditions of one bit and the payload as bits."""

    valid: Value
    ready: Value
    payload: Value

    @property
    def moved(self) -> Value:
        """A word is transferred in this cycle."""
        return self.valid & self.ready

    @property
    def waits(self) -> Value:
        """A word is offered and not taken."""
        return self.valid & ~self.ready


def of(stream: Any) -> Port:
    """The port of an Amaranth stream or of an AXI4-Stream."""
    if hasattr(stream, "tvalid"):
        members = [Value.cast(getattr(stream, n)) for n in ("tdata", "tlast", "tkeep") if hasattr(stream, n)]
        return Port(stream.tvalid, stream.tready, Cat(members))
    return Port(stream.valid, stream.ready, Value.cast(stream.payload))


def resettable(describe: Callable[[Module, Circuit], None]) -> Elaboratable:
    """A circuit that is reset whenever a free input says so, with what is checked; so resets at any time are covered.

    Registers without a reset keep what they have: after the first reset that may be anything the circuit can reach.
    """
    reset = Signal(name="reset")
    circuit = Circuit(describe)
    circuit.ports.append(reset)
    wrapped: Elaboratable = ResetInserter({"sync": reset})(circuit)
    return wrapped


def before(m: Module, value: Any, name: str) -> Signal:
    """The value of one cycle ago, 0 in the first cycle and after a reset."""
    register = Signal(Value.cast(value).shape(), name=f"{name}_before")
    m.d.sync += register.eq(value)
    return register


def kept(m: Module, port: Port, name: str, drop: Any = 0) -> Value:
    """A word that was not taken in the last cycle is offered again, bit for bit. drop: but not after such a cycle."""
    waited = before(m, port.waits & ~Value.cast(drop), f"{name}_waited")
    return implies(waited, port.valid & (port.payload == before(m, port.payload, f"{name}_payload")))


def source(m: Module, c: Circuit, port: Port, name: str, drop: Any = 0) -> Port:
    """Feeds an input with any words that obey the contract."""
    m.d.comb += [
        port.valid.eq(c.free(1, f"{name}_offered")),
        port.payload.eq(c.free(len(port.payload), f"{name}_word")),
        Assume(kept(m, port, name, drop)),
    ]
    return port


def sink(m: Module, c: Circuit, port: Port, name: str, drop: Any = 0) -> Port:
    """Takes words of an output whenever it likes, and checks that they stay until then."""
    m.d.comb += port.ready.eq(c.free(1, f"{name}_taken"))
    check(m, f"{name}_kept", kept(m, port, name, drop))
    return port


def ends(m: Module, name: str, waiting: Any, within: int) -> None:
    """Something is never the case for more than ``within`` cycles in a row."""
    cycles = Signal(range(within + 2), name=f"{name}_cycles")
    with m.If(~Value.cast(waiting)):
        m.d.sync += cycles.eq(0)
    with m.Elif(cycles <= within):
        m.d.sync += cycles.eq(cycles + 1)
    check(m, f"{name}_ends", ~Value.cast(waiting) | (cycles < within))


class Ledger:
    """Counts what is owed, and follows one word that is chosen freely.

    enters: a word comes in, which becomes ``parts`` words at the output (0 to ``capacity``). leaves: one goes out. Both
    may fall into one cycle, then the word that enters can be the one that leaves. ``owed``: words inside.
    ``chosen``: the word that enters is the one to follow; of it, part number ``part``. ``arrives``: the word that
    leaves is that one. Checks that never more words leave than have entered, and that no more than ``capacity`` are
    inside. clear: nothing is owed from the next cycle on. choice: cycles in which a word can be chosen, where that may
    be one whose entry counts nothing itself because it only becomes a piece of the next word out.
    """

    def __init__(
        self,
        m: Module,
        c: Circuit,
        enters: Any,
        leaves: Any,
        *,
        capacity: int,
        parts: Any = 1,
        clear: Any = 0,
        choice: Any = None,
    ) -> None:
        top = bits_for(2 * capacity + 2)
        self.owed = owed = Signal(top, name="owed")
        self.part = c.constant(m, bits_for(capacity), "part")
        self.chosen = Signal(name="chosen")
        self.arrives = Signal(name="arrives")
        added = named(m, Mux(enters, parts, Const(0, top)), "added")
        following, ahead = Signal(name="following"), Signal(top, name="ahead")
        done = Signal(name="followed")
        can = Value.cast(enters) & (self.part < parts) if choice is None else choice & (self.part == 0)
        m.d.comb += [
            self.chosen.eq(c.free(1, "choose") & can & ~following & ~done),
            self.arrives.eq(leaves & Mux(following, ahead == 0, self.chosen & (owed + self.part == 0))),
        ]
        m.d.sync += owed.eq(owed + added - Value.cast(leaves))
        with m.If(self.arrives):
            m.d.sync += [following.eq(0), done.eq(1)]
        with m.Elif(self.chosen):
            m.d.sync += [following.eq(1), ahead.eq(owed + self.part - Value.cast(leaves))]
        with m.Elif(following & leaves):
            m.d.sync += ahead.eq(ahead - 1)
        with m.If(clear):
            m.d.sync += [owed.eq(0), following.eq(0), done.eq(0)]
        m.d.comb += Cover(self.arrives)
        check(m, "nothing_extra", ~Value.cast(leaves) | (owed + added != 0))
        check(m, "capacity", owed <= capacity)


def flow(
    m: Module,
    c: Circuit,
    i: Port,
    o: Port,
    *,
    capacity: int,
    within: int,
    parts: Callable[[Value], Any] = lambda _word: 1,
    clear: Any = 0,
) -> tuple[Ledger, Value]:
    """The contract between an input and an output; returns the ledger and the word that it follows, a constant.

    No word lost, none twice: what is inside leaves within so many cycles of readiness, more never does. No deadlock:
    an input that is offered is taken within so many cycles of readiness at the output.
    """
    ledger = Ledger(m, c, i.moved, o.moved, capacity=capacity, parts=parts(i.payload), clear=clear)
    word = c.constant(m, len(i.payload), "word")
    m.d.comb += Assume(implies(ledger.chosen, i.payload == word))
    ends(m, "stuck_inside", (ledger.owed != 0) & o.ready & ~o.valid & ~Value.cast(clear), within)
    ends(m, "refused", i.waits & o.ready & ~Value.cast(clear), within)
    return ledger, word


def covers(m: Module, i: Port, o: Port, last: Any, count: int) -> None:
    """Reached: a packet of ``count`` words or more leaves, a stall of the output, and a word after a stall."""
    words = Signal(range(count + 1), name="words")
    stalled = Signal(name="stalled")
    with m.If(o.moved & (words != count)):
        m.d.sync += words.eq(words + 1)
    with m.If(i.waits & o.waits):
        m.d.sync += stalled.eq(1)
    m.d.comb += Cover(o.moved & Value.cast(last) & (words == count - 1))
    m.d.comb += Cover(stalled & o.moved & (words == count - 1))


def reached(name: str, build: Callable[[], Elaboratable], count: int, depth: int) -> Proof:
    """The proof that what ``covers`` asks for is reached."""
    claim = f"Reached: a packet of {count} words leaves, both ends stall at a time, words leave after it (cover)."
    return Proof(f"{name}/reached", claim, build, mode=COVER, depth=depth)
