"""Streams inside the decode engine: channel walker, row reader, accumulation of rows."""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Assume, Cat, Const, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data
from flexnm_rtl.channel_walker import ChannelWalker
from flexnm_rtl.config import Config
from flexnm_rtl.row_reader import RowReader
from flexnm_rtl.vector_mac import VectorMac

from flexnm_tb.formal.axi import MEMORY
from flexnm_tb.formal.axi_rules import ReadManager
from flexnm_tb.formal.proof import Circuit, Proof, check
from flexnm_tb.formal.rules import implies, named, population
from flexnm_tb.formal.stream_contract import Ledger, Port, before, covers, ends, of, reached, resettable, sink, source


def reader(cfg: Config, count: int) -> Elaboratable:
    """Requests in, beats out, between them a memory; a row that is not read is one beat, the first of a tile all.

    The region is a free input, so any row may be one that is not read.
    """

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.reader = unit = RowReader(cfg)
        i, o = source(m, c, of(unit.i), "i"), sink(m, c, of(unit.o), "o")
        beats = cfg.outstanding * cfg.tile_beats
        bus = ReadManager(m, c, unit.bus, Value.cast(0), beats)
        for name in ("base", "limit", "tile_bytes", "abort", "start"):
            m.d.comb += getattr(unit, name).eq(c.free(len(getattr(unit, name)), name))
        most = named(m, Mux(unit.requested | unit.i.p.first, unit.i.p.beats + 1, 1), "beats_of_row")
        ledger = Ledger(m, c, i.moved, o.moved, capacity=beats, parts=most)
        m.d.comb += Assume(implies(unit.start, (ledger.owed == 0) & ~i.valid))
        if count:
            covers(m, i, o, unit.o.p.end & unit.o.p.valid_data & unit.o.p.request.last, count)
        _beats(m, c, unit, bus, ledger, most)

    return resettable(describe)


def requests(cfg: Config, _count: int) -> Elaboratable:
    """The requests of a row reader on the bus, with any aligned addresses at any time."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.reader = unit = RowReader(cfg)
        bus = ReadManager(m, c, unit.bus, Value.cast(0), cfg.outstanding * cfg.tile_beats)
        row = cfg.row_bytes.bit_length() - 1
        _drive(m, c, unit)
        for name in ("base", "tile_bytes"):
            whole = c.free(len(getattr(unit, name)) - row, name)
            m.d.comb += getattr(unit, name).eq(Cat(Const(0, row), whole))
        m.d.comb += [unit.limit.eq(c.free(len(unit.limit), "limit"))]
        bus.check(m, Value.cast(0), cfg.bus_width // 8)
        m.d.comb += Cover(before(m, bus.ar.waits, "request_waited") & bus.ar.moved & (bus.bus.arlen != 0))

    return resettable(describe)


def region(cfg: Config) -> Elaboratable:
    """What is asked for lies in the region of the job, whatever else happens."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.reader = unit = RowReader(cfg)
        _drive(m, c, unit)
        for name in ("base", "limit", "tile_bytes"):
            m.d.comb += getattr(unit, name).eq(c.constant(m, len(getattr(unit, name)), name))
        bus = unit.bus
        m.d.comb += [bus.arready.eq(c.free(1, "arready")), bus.rvalid.eq(c.free(1, "rvalid"))]
        end = bus.araddr + (bus.arlen + 1) * (cfg.bus_width // 8)
        check(m, "length", bus.arlen < cfg.tile_beats)
        check(m, "inside", implies(bus.arvalid, (bus.araddr >= unit.base) & (end <= unit.limit)))

    return resettable(describe)


def _drive(m: Module, c: Circuit, unit: RowReader) -> None:
    source(m, c, of(unit.i), "i")
    for name in ("abort", "start"):
        m.d.comb += getattr(unit, name).eq(c.free(1, name))
    m.d.comb += unit.o.ready.eq(c.free(1, "taken"))


def _beats(m: Module, c: Circuit, unit: RowReader, bus: ReadManager, ledger: Ledger, parts: Value) -> None:
    i, o = of(unit.i), of(unit.o)
    word, read, most = (
        c.constant(m, len(i.payload), "word"),
        c.constant(m, 1, "was_read"),
        c.constant(m, len(parts), "most"),
    )
    same = (i.payload == word) & (unit.requested == read) & (parts == most)
    m.d.comb += Assume(implies(ledger.chosen, same))
    p = unit.o.p
    check(m, "request", implies(ledger.arrives, Value.cast(p.request) == word))
    check(m, "beat", implies(ledger.arrives, (p.beat == ledger.part) & (p.end == (ledger.part + 1 == most))))
    check(m, "read", implies(ledger.arrives, p.valid_data == read))
    check(m, "data", implies(o.valid & p.valid_data, bus.r.valid & (p.weights == bus.bus.rdata)))
    check(m, "data_taken", bus.r.moved == (o.moved & p.valid_data))
    silent = (bus.beats == 0) & ~bus.ar.valid
    ends(m, "stuck_inside", (ledger.owed != 0) & o.ready & ~o.valid & (silent | bus.r.valid), 2)
    ends(m, "refused", i.waits & o.ready & bus.ar.ready & (silent | bus.r.valid), 2 + unit.cfg.tile_beats)


def walker(cfg: Config, count: int) -> Elaboratable:
    """Entries in from a memory of latency 1, a request out for every marked channel."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.walker = unit = ChannelWalker(cfg)
        entry = Value.cast(unit.entry)
        channels, outputs = c.constant(m, len(unit.channels), "channels"), c.constant(m, len(unit.outputs), "outputs")
        start = c.free(1, "start")
        m.d.comb += [
            entry.eq(c.free(len(entry), "entry")),
            unit.start.eq(start),
            unit.filled.eq(c.free(len(unit.filled), "filled")),
            unit.channels.eq(channels),
            unit.outputs.eq(outputs),
            Assume((channels != 0) & (channels <= cfg.k_max) & (outputs != 0) & (outputs <= 2 * cfg.tile_outputs)),
            Assume(unit.entry.mask != 0),
        ]
        o = sink(m, c, of(unit.o), "o", drop=start)
        shown = before(m, unit.read & ~start, "shown")
        m.d.comb += Assume(shown | ~before(m, 1, "running") | (entry == before(m, entry, "entry")))
        begun = Signal(name="begun")
        with m.If(start):
            m.d.sync += begun.eq(1)
        m.d.comb += Assume(implies(unit.filled != 0, begun))
        if count:
            covers(m, Port(o.valid, o.ready, entry), o, unit.o.p.last, count)
        _requests(m, c, unit, o, shown, start)

    return resettable(describe)


def _requests(m: Module, c: Circuit, unit: ChannelWalker, o: Port, shown: Value, start: Value) -> None:
    cfg = unit.cfg
    mask = list(unit.entry.mask)
    marked = population(mask)
    ledger = Ledger(m, c, shown & ~start, o.moved & ~start, capacity=2 * cfg.m_group + 1, parts=marked, clear=start)
    seen = Cat(Value.cast(unit.entry), before(m, unit.addr, "addr"))
    word = c.constant(m, len(seen), "word")
    m.d.comb += Assume(implies(ledger.chosen, seen == word))
    entry = data.View(unit.entry.shape(), word[: len(Value.cast(unit.entry))])
    block, marks = word[len(Value.cast(unit.entry)) :], list(entry.mask)
    final = block == ((unit.channels - 1) >> (cfg.m_group.bit_length() - 1))
    p = unit.o.p
    for k in range(cfg.m_group):
        lower = population(marks[:k]) if k else 0
        here = named(m, ledger.arrives & marks[k] & (ledger.part == lower), f"at_channel_{k}")
        check(m, f"channel_{k}", implies(here, p.channel == block * cfg.m_group + k))
        values = Cat(Value.cast(entry["values"][r][k]) for r in range(cfg.rows))
        check(m, f"values_{k}", implies(here, Value.cast(p["values"]) == values))
    check(m, "first", implies(ledger.arrives, p.first == ((block == 0) & (ledger.part == 0))))
    check(m, "last", implies(ledger.arrives, p.last == (final & (ledger.part + 1 == population(marks)))))
    ends(m, "stuck_inside", (ledger.owed != 0) & o.ready & ~o.valid & ~start, 2)
    _look_ups(m, unit, o, start)


def _look_ups(m: Module, unit: ChannelWalker, o: Port, start: Value) -> None:
    """Entries are looked up in order, tile after tile, each once, when they are there."""
    cfg = unit.cfg
    blocks = (unit.channels + cfg.m_group - 1) >> (cfg.m_group.bit_length() - 1)
    tiles = Mux(unit.outputs > cfg.tile_outputs, 2, 1)
    at, tile = Signal.like(unit.addr, name="at"), Signal(2, name="tile")
    with m.If(unit.read):
        m.d.sync += [at.eq(at + 1)]
        with m.If(at + 1 == blocks):
            m.d.sync += [at.eq(0), tile.eq(tile + 1)]
    with m.If(start):
        m.d.sync += [at.eq(0), tile.eq(0)]
    check(m, "in_order", implies(unit.read & ~start, (unit.addr == at) & (tile < tiles) & (at < unit.filled)))
    begun = Signal(name="job")
    with m.If(start):
        m.d.sync += begun.eq(1)
    there = begun & (tile < tiles) & (at < unit.filled)
    ends(m, "not_looked_up", there & o.ready & ~unit.read & ~start, cfg.m_group + 1)


class _OneLane(Config):
    """One weight in a beat of the bus, the lanes being equal."""

    @property
    def weights_per_bus(self) -> int:
        """A single one."""
        return 1


def rows(cfg: Config, count: int) -> Elaboratable:
    """Beats of rows in, for each tile its sums out."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.mac = unit = VectorMac(cfg)
        i, o = source(m, c, of(unit.i), "i"), sink(m, c, of(unit.o), "o")
        p = unit.i.p
        beat, size = Signal.like(p.beat, name="at_beat"), c.constant(m, len(p.request.beats), "size")
        most = named(m, (size + 1) * cfg.rows, "results_of_tile")
        whole = p.valid_data | p.request.first
        # What a row reader sends: beats of a row in turn, a row that was not read is a single one.
        m.d.comb += Assume(implies(i.valid, (p.beat == beat) & (p.request.beats == size)))
        m.d.comb += Assume(implies(i.valid, p.end == ((beat == size) | ~whole)))
        with m.If(i.moved):
            m.d.sync += beat.eq(Mux(p.end, 0, beat + 1))
        tile = named(m, i.moved & p.end & p.request.last, "tile_in")
        m.d.comb += unit.start.eq(0)
        if count:
            covers(m, i, o, unit.o.p.last, count)
        ledger = Ledger(m, c, tile, o.moved, capacity=2 * cfg.tile_beats * cfg.rows, parts=most)
        row_end = (ledger.part + 1) % cfg.rows == 0
        check(m, "last", implies(ledger.arrives, unit.o.p.last == row_end))
        ends(m, "stuck_inside", (ledger.owed != 0) & o.ready & ~o.valid, unit.SETTLE)
        ends(m, "refused", i.waits & o.ready, 2 * cfg.tile_beats * (cfg.rows + 1) + unit.SETTLE)

    return resettable(describe)


_CLAIMS = {
    "row_reader": "Every request comes out with each of its beats once, in order, with the memory's data or none, and "
    "waits unchanged; bursts keep AXI4, stay in the region and in their number; nothing hangs while the memory answers",
    "channel_walker": "Every marked channel of every entry brings one request, lowest first, with first and last; "
    "requests wait unchanged until the next start; entries are looked up in order, each once",
    "vector_mac": "A tile's last beat brings its results, the last row marked, each unchanged until it is taken",
}


def proofs() -> list[Proof]:
    """For each unit the contract and a cover."""
    wide = _OneLane.from_dict(MEMORY.replace(rows=2).as_dict())
    cases: list[tuple[str, Any, int, int]] = [
        ("row_reader/beats", partial(reader, MEMORY), 4, 20),
        ("row_reader/bus", partial(requests, MEMORY), 1, 12),
        ("channel_walker", partial(walker, MEMORY), 3, 20),
        ("vector_mac", partial(rows, wide), 4, 24),
    ]
    found = []
    for name, build, count, depth in cases:
        claim = f"{_CLAIMS[name.partition('/')[0]]} (abc pdr, any stalls, reset at any time)."
        found.append(Proof(f"stream/{name}/contract", claim, partial(build, 0), engine="abc pdr"))
        found.append(reached(f"stream/{name}", partial(build, count), count, depth))
    claim = "A read request lies in the region of the job (induction, any requests)."
    return [*found, Proof("stream/row_reader/region", claim, partial(region, MEMORY))]
