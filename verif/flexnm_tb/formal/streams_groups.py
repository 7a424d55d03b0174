"""Units that hold back a group of words: its memory, and the buffer that waits for means."""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Assume, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from flexnm_rtl.config import Config
from flexnm_rtl.group_buffer import GroupBuffer
from flexnm_rtl.group_store import GroupStore

from flexnm_tb.elaboratables import silenced
from flexnm_tb.formal.proof import Circuit, Proof, check
from flexnm_tb.formal.rules import implies
from flexnm_tb.formal.stream_contract import Ledger, Port, covers, ends, of, reached, resettable, sink, source
from flexnm_tb.formal.streams import SMALL


def store(depth: int, count: int) -> Elaboratable:
    """Filled with one word or more, then read out in order."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.store = unit = GroupStore(2, depth)
        m.d.comb += [getattr(unit, n).eq(c.free(1, n)) for n in ("start", "write", "replay")]
        m.d.comb += unit.data.eq(c.free(2, "data"))
        o = sink(m, c, of(unit.o), "o", drop=unit.start)
        ledger = Ledger(m, c, unit.write, o.moved, capacity=depth, clear=unit.start)
        sending, begun = Signal(name="sending"), Signal(name="begun")
        with m.If(unit.replay):
            m.d.sync += sending.eq(1)
        with m.If(unit.sent | unit.start):
            m.d.sync += sending.eq(0)
        with m.If(unit.start):
            m.d.sync += begun.eq(1)
        m.d.comb += Assume(implies(unit.write, begun & ~sending & ~unit.replay & (ledger.owed < depth)))
        m.d.comb += Assume(implies(unit.replay, ~sending & (ledger.owed != 0)))
        if count:
            covers(m, Port(o.valid, o.ready, unit.data), o, unit.sent, count)
        word = c.constant(m, 2, "word")
        m.d.comb += Assume(implies(ledger.chosen, unit.data == word))
        check(m, "same_word", implies(ledger.arrives, unit.o.payload == word))
        check(m, "only_when_told", implies(o.valid, sending))
        check(m, "sent", unit.sent == (o.moved & (ledger.owed == 1)))
        ends(m, "stuck_inside", sending & ~unit.start & ~o.valid, 1)

    return resettable(describe)


class _Means(wiring.Component):
    """Has the ports of ``GroupMeans``; says ``done`` at any time, but within ``latency`` cycles of a whole group."""

    latency = 3

    def __init__(self, whole: Any, c: Circuit) -> None:
        self.whole = silenced(whole)
        self.done_now = c.free(1, "means_done")
        super().__init__(dict(whole.signature.members.items()))

    def elaborate(self, platform: object) -> Module:
        """Counts the beats of a group, then the cycles since."""
        m = Module()
        cfg = self.whole.cfg
        blocks = (self.channels + cfg.m_group - 1) // cfg.m_group
        beats, waited = Signal(8), Signal(range(self.latency + 1))
        m.d.comb += self.final.eq(beats + 1 == blocks * (cfg.rows // cfg.act_ports))
        with m.If(self.valid):
            m.d.sync += beats.eq(Mux(self.final, 0, beats + 1))
        m.d.comb += self.done.eq((waited != 0) & (self.done_now | (waited == self.latency)))
        with m.If(self.start | self.done):
            m.d.sync += waited.eq(0)
        with m.Elif(self.valid & self.final):
            m.d.sync += waited.eq(1)
        with m.Elif(waited != 0):
            m.d.sync += waited.eq(waited + 1)
        with m.If(self.start):
            m.d.sync += beats.eq(0)
        return m


def group(cfg: Config, count: int) -> Elaboratable:
    """Groups of tokens are held back until their means are known, or pass through.

    In the place of the unit that computes the means stands ``_Means``.
    """

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.buffer = unit = GroupBuffer(cfg)
        unit.means_unit = _Means(unit.means_unit, c)
        channels = c.constant(m, len(unit.channels), "channels")
        m.d.comb += [
            unit.start.eq(c.free(1, "start")),
            unit.channels.eq(channels),
            unit.enable.eq(c.constant(m, 1, "enable")),
            Assume((channels != 0) & (channels <= cfg.k_max)),
        ]
        i = source(m, c, of(unit.i), "i", drop=unit.start)
        o = sink(m, c, of(unit.o), "o", drop=unit.start)
        begun = Signal(name="begun")
        with m.If(unit.start):
            m.d.sync += begun.eq(1)
        m.d.comb += Assume(implies(i.valid, begun & ~unit.start))
        if count:
            covers(m, i, o, 1, count)
        _grouped(m, c, unit, i, o)

    return resettable(describe)


def _grouped(m: Module, c: Circuit, unit: GroupBuffer, i: Port, o: Port) -> None:
    cfg = unit.cfg
    ledger = Ledger(m, c, i.moved, o.moved, capacity=unit.depth, clear=unit.start)
    word = c.constant(m, len(i.payload), "word")
    m.d.comb += Assume(implies(ledger.chosen, i.payload == word))
    check(m, "same_word", implies(ledger.arrives, o.payload == word))
    size = cfg.rows // cfg.act_ports * ((unit.channels + cfg.m_group - 1) // cfg.m_group)
    complete = Signal(name="complete")
    with m.If(i.moved & (ledger.owed + 1 == size)):
        m.d.sync += complete.eq(1)
    with m.If(unit.start | (o.moved & (ledger.owed == 1))):
        m.d.sync += complete.eq(0)
    calm = unit.enable & ~unit.start
    check(m, "held_back", implies(unit.enable & o.valid, complete))
    ends(m, "stuck_inside", calm & complete & ~o.valid, _Means.latency + 2)
    ends(m, "refused", calm & ~complete & i.waits, 0)
    check(m, "connected", unit.enable | ((i.valid == o.valid) & (i.ready == o.ready)))


_CLAIMS = {
    "group_store": "Words leave in the order they came, none lost and none twice, and wait unchanged",
    "group_buffer": "Words leave in the order they came, none lost and none twice, wait unchanged, and only once the "
    "group is complete; without the mode the streams are connected",
}


def proofs() -> list[Proof]:
    """For both the contract and a cover."""
    shifted = SMALL.replace(rows=2, acts_per_beat=1, token_shift=True)
    cases = (("group_store", partial(store, 3), 3, 18), ("group_buffer", partial(group, shifted), 4, 30))
    found = []
    for name, build, count, depth in cases:
        claim = f"{_CLAIMS[name]} (abc pdr, any stalls, reset at any time)."
        found.append(Proof(f"stream/{name}/contract", claim, partial(build, 0), engine="abc pdr"))
        found.append(reached(f"stream/{name}", partial(build, count), count, depth))
    return found
