"""Units that collect, split or hold back words: drain, array, packer, guard."""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Assume, Cat, Elaboratable, Module, Mux, Signal, Value
from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.drain import ResultDrain
from flexnm_rtl.mac_array import MacArray
from flexnm_rtl.packer import Packer
from flexnm_rtl.packet_guard import PacketGuard

from flexnm_tb.formal.proof import Circuit, Proof, check
from flexnm_tb.formal.rules import implies, named
from flexnm_tb.formal.stream_contract import Ledger, Port, before, covers, ends, of, reached, resettable, sink, source
from flexnm_tb.formal.streams import SMALL


def drain(cfg: Config, count: int) -> Elaboratable:
    """A snapshot of totals leaves row by row; the next one comes when it has left."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.drain = unit = ResultDrain(cfg)
        totals = Value.cast(unit.totals)
        m.d.comb += [totals.eq(c.free(len(totals), "totals")), unit.capture.eq(c.free(1, "capture"))]
        o = sink(m, c, of(unit.o), "o")
        taken = before(m, unit.capture, "capture") if unit.early else unit.capture
        i = Port(taken, taken, totals)
        ledger = Ledger(m, c, i.moved, o.moved, capacity=cfg.rows, parts=cfg.rows)
        m.d.comb += Assume(implies(i.moved, ledger.owed == 0))
        if count:
            covers(m, Port(o.valid, o.ready, totals), o, unit.o.p.last, count)
        word = c.constant(m, len(totals), "word")
        m.d.comb += Assume(implies(ledger.chosen, totals == word))
        rows = [implies(ledger.part == r, Value.cast(unit.o.p.sums) == row) for r, row in enumerate(_rows(word, cfg))]
        check(m, "sums", implies(ledger.arrives, Cat(rows).all()))
        check(m, "last", implies(ledger.arrives, unit.o.p.last == (ledger.part == cfg.rows - 1)))
        check(m, "finishing", unit.finishing == (o.moved & (ledger.owed == 1)))
        ends(m, "stuck_inside", (ledger.owed != 0) & ~o.valid, unit.interval - 1)

    return resettable(describe)


def _rows(word: Value, cfg: Config) -> list[Value]:
    width = len(word) // cfg.rows
    return [word[r * width : (r + 1) * width] for r in range(cfg.rows)]


def array(cfg: Config, count: int) -> Elaboratable:
    """Two streams in, taken together; a group's last beat brings ``rows`` results."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.array = unit = MacArray(cfg)
        acts, weights = source(m, c, of(unit.acts), "acts"), source(m, c, of(unit.weights), "weights")
        o = sink(m, c, of(unit.results), "results")
        hold = unit.acts.p.hold
        if count:
            covers(m, acts, o, unit.results.p.last, count)
        group = named(m, acts.moved & unit.acts.p.last & ~hold, "group_in")
        ledger = Ledger(m, c, group, o.moved, capacity=2 * cfg.rows, parts=cfg.rows)
        check(m, "last", implies(ledger.arrives, unit.results.p.last == (ledger.part == cfg.rows - 1)))
        check(m, "together", weights.moved == (acts.moved & ~hold))
        check(m, "with_weights", implies(acts.moved, weights.valid))
        ends(m, "stuck_inside", (ledger.owed != 0) & o.ready & ~o.valid, unit.latency)
        ends(m, "refused", acts.waits & weights.valid & o.ready, cfg.rows + unit.latency)

    return resettable(describe)


def packer(ratio: int, count: int) -> Elaboratable:
    """Narrow words side by side, a wide one alone; what place a word gets is counted here once more."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.packer = unit = Packer(1, wide=8 * ratio, narrow=8)
        elements = Value.cast(unit.elements)
        i = source(m, c, Port(unit.valid, unit.ready, Cat(elements, unit.last)), "i")
        o = sink(m, c, of(unit.o), "o")
        m.d.comb += [unit.narrow.eq(c.constant(m, 1, "narrow")), unit.start.eq(c.free(1, "start"))]
        place = Signal(range(ratio), name="place")
        closes = named(m, i.moved & (~unit.narrow | unit.last | (place == ratio - 1)), "closes")
        with m.If(i.moved):
            m.d.sync += place.eq(Mux(closes, 0, place + 1))
        # A job begins after the last word of another.
        m.d.comb += Assume(implies(unit.start, ~i.valid & (place == 0)))
        if count:
            covers(m, i, o, unit.o.tlast & ~unit.o.tkeep.all(), count)
        _packed(m, c, unit, i, o, place, closes)

    return resettable(describe)


def _packed(m: Module, c: Circuit, unit: Packer, i: Port, o: Port, place: Signal, closes: Value) -> None:
    ledger = Ledger(m, c, closes, o.moved, capacity=1, choice=i.moved)
    word, where = c.constant(m, len(i.payload), "word"), c.constant(m, len(place), "where")
    closing = c.constant(m, 1, "closing")
    same = (i.payload == word) & (place == where) & (closes == closing)
    m.d.comb += Assume(implies(ledger.chosen, same))
    data, last = Value.cast(unit.o.tdata), word[-1]
    parts = range(unit.ratio)
    narrow = [implies(where == k, (data[8 * k : 8 * k + 8] == word[:8]) & unit.o.tkeep[k]) for k in parts]
    wide = (data == word[:-1]) & unit.o.tkeep.all()
    check(m, "word", implies(ledger.arrives, Mux(unit.narrow, Cat(narrow).all(), wide)))
    check(m, "last", implies(ledger.arrives & closing, unit.o.tlast == last))
    above = [implies(where < k, ~unit.o.tkeep[k] & (data[8 * k : 8 * k + 8] == 0)) for k in parts]
    check(m, "nothing_above", implies(ledger.arrives & closing & unit.narrow, Cat(above).all()))
    check(m, "none_lost_before_last", implies(o.valid & unit.o.tlast, unit.o.tkeep[0]))
    ends(m, "stuck_inside", (ledger.owed != 0) & ~o.valid, 0)
    ends(m, "refused", i.waits & o.ready, 0)


def guard(most: int, count: int) -> Elaboratable:
    """Exactly the beats of a job leave; of the packets in, exactly one is taken, whatever its length."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.guard = unit = PacketGuard(2)
        i = source(m, c, of(unit.i), "i")
        start, abort = c.free(1, "start"), c.free(1, "abort")
        m.d.comb += [unit.start.eq(start), unit.abort.eq(abort)]
        o = sink(m, c, of(unit.o), "o", drop=start)
        beats, left = c.constant(m, bits_for(most + 1), "beats"), Signal(range(most + 1), name="left")
        m.d.comb += [Assume((beats != 0) & (beats <= most)), unit.final.eq(left == 1)]
        # An abort is held until the job has ended.
        m.d.comb += Assume(implies(before(m, abort & ~start & ~(o.moved & unit.final), "held"), abort | (left == 0)))
        with m.If(o.moved):
            m.d.sync += left.eq(left - 1)
        with m.If(start):
            m.d.sync += left.eq(beats)
        if count:
            covers(m, Port(i.waits | o.waits, ~o.valid, i.payload), o, unit.final & unit.i.p.last, count)
        _guarded(m, unit, i, o, left != 0)

    return resettable(describe)


def _guarded(m: Module, unit: PacketGuard, i: Port, o: Port, job: Value) -> None:
    ended, aborted, rest = (Signal(name=name) for name in ("ended", "was_aborted", "rest"))
    last, data = unit.i.p.last, unit.i.p.data
    real = named(m, o.moved & i.moved, "real")
    with m.If(real & last):
        m.d.sync += ended.eq(1)
    with m.If(unit.abort & job):
        m.d.sync += aborted.eq(1)
    with m.If(i.moved):
        m.d.sync += rest.eq(~last)
    with m.If(unit.start):
        m.d.sync += [ended.eq(0), aborted.eq(0), rest.eq(0)]
    check(m, "beats_of_the_job", implies(o.valid, job))
    check(m, "passed_on", implies(real, ~ended & (unit.o.payload == data)))
    check(m, "filled_up", implies(o.moved & ~i.moved, (ended | aborted) & (unit.o.payload == 0)))
    check(m, "thrown_away", implies(i.moved & ~o.moved, ~job & rest))
    check(m, "short", unit.short == (real & last & ~unit.final))
    check(m, "long", unit.long == (real & ~last & unit.final))
    ends(m, "stuck", job & o.ready & ~o.valid & (i.valid | ended | aborted), 1)
    ends(m, "rest_stays", ~job & rest & i.waits, 0)


PAIR_ROWS = SMALL.replace(rows=2, acts_per_beat=1)
_TWO_STEPS = PAIR_ROWS.replace(n_keep=2, m_group=4, lanes=1)

_CLAIMS = {
    "drain": "A snapshot leaves as its rows in order, the last one marked, each unchanged until it is taken",
    "array": "Beats of both operands are taken together; a group's last beat brings one result for each row, the last "
    "one marked, each unchanged until it is taken; operands are taken while results leave",
    "packer": "Every word stands in its place of the beat that it belongs to, once, with tkeep and tlast; beats wait "
    "unchanged",
    "packet_guard": "Of one packet of any length exactly the job's beats leave, filled up with zeros; no word of "
    "another packet is taken; offers wait unchanged until the next start",
}


def _cases() -> list[tuple[str, Any, int, int]]:
    """Name, circuit as a function of the words to reach, that number, depth of the cover."""
    short = SMALL.replace(rows=3, selector="rank2")
    return [
        ("drain/plain", partial(drain, SMALL.replace(rows=3)), 6, 14),
        ("drain/short_stages", partial(drain, short), 6, 14),
        ("array/one_step", partial(array, PAIR_ROWS), 4, 24),
        ("array/two_steps", partial(array, _TWO_STEPS), 4, 30),
        ("array/short_stages", partial(array, PAIR_ROWS.replace(selector="rank2")), 4, 30),
        ("packer/2", partial(packer, 2), 3, 14),
        ("packer/4", partial(packer, 4), 3, 20),
        ("packet_guard", partial(guard, 3), 3, 14),
    ]


def proofs() -> list[Proof]:
    """For each unit the contract and a cover."""
    found = []
    for name, build, count, depth in _cases():
        claim = f"{_CLAIMS[name.partition('/')[0]]} (abc pdr, any stalls, reset at any time)."
        found.append(Proof(f"stream/{name}/contract", claim, partial(build, 0), engine="abc pdr"))
        found.append(reached(f"stream/{name}", partial(build, count), count, depth))
    return found
