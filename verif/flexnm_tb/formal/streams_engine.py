"""Streams at the edges of the linear engine's units: loaders, feeder, epilogue."""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Assume, Cat, Const, Cover, Elaboratable, Module, Mux, Signal, Value
from flexnm_rtl.act_loader import ActLoader
from flexnm_rtl.config import Config
from flexnm_rtl.epilogue import Epilogue, row_cycles
from flexnm_rtl.feeder import Feeder
from flexnm_rtl.token_loader import TokenLoader
from flexnm_rtl.weight_loader import WeightLoader

from flexnm_tb.formal.axi import MEMORY
from flexnm_tb.formal.proof import BMC, PROVE, Circuit, Proof, check
from flexnm_tb.formal.rules import implies, named
from flexnm_tb.formal.stream_contract import Ledger, Port, ends, of, reached, resettable, sink, source
from flexnm_tb.formal.streams import SMALL

BOUNDS = {"epilogue": 23, "epilogue/short_stages": 28}
"""Cycles in which an epilogue is shown to be right: its stages, a job of a few rows, and the next one's start."""

LINEAR = SMALL.replace(rows=2, acts_per_beat=1, t_max=4)
_SPACED = LINEAR.replace(n_keep=2, m_group=4, lanes=1, selector="rank2")


def _job(m: Module, c: Circuit, unit: Any, **limits: int) -> Signal:
    """Free constants for the job's sizes and modes, ``start`` at any time; returns whether there was one."""
    for name, most in limits.items():
        port = getattr(unit, name)
        m.d.comb += port.eq(c.constant(m, len(port), name))
        m.d.comb += Assume((port != 0) & (port <= most)) if most else Assume(1)
    m.d.comb += unit.start.eq(c.free(1, "start"))
    begun = Signal(name="begun")
    with m.If(unit.start):
        m.d.sync += begun.eq(1)
    return begun


def acts(cfg: Config, _count: int) -> Elaboratable:
    """Beats that pass the guard are written, block by block, in the job's mode; nothing is written twice."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.loader = unit = ActLoader(cfg)
        _job(m, c, unit, tokens=cfg.tokens_max, channels=cfg.k_max, dense=0, compressed=0)
        m.d.comb += [unit.abort.eq(c.free(1, "abort")), Assume(~(unit.dense & unit.compressed))]
        i = source(m, c, of(unit.i), "i")
        _written(m, c, unit, i, Mux(unit.dense, cfg.dense_beats, 1), 2 * cfg.dense_beats + 4)

    return resettable(describe)


def tokens(cfg: Config, _count: int) -> Elaboratable:
    """Beats that pass the guard are written."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.loader = unit = TokenLoader(cfg)
        _job(m, c, unit, tokens=cfg.rows, channels=cfg.k_max, keep=cfg.m_group, dense=0)
        m.d.comb += unit.abort.eq(c.free(1, "abort"))
        i = source(m, c, of(unit.i), "i")
        _written(m, c, unit, i, Const(1), 8)

    return resettable(describe)


def _written(m: Module, c: Circuit, unit: Any, i: Port, parts: Value, capacity: int) -> None:
    """A beat of the job is written after a while, as so many entries; the next job begins when that is done."""
    passed = of(unit.guard.o).moved
    ledger = Ledger(m, c, passed, unit.write, capacity=capacity, parts=parts)
    m.d.comb += Assume(implies(unit.start, ledger.owed == 0))
    ends(m, "not_written", (ledger.owed != 0) & ~unit.write, 4)
    ends(m, "refused", of(unit.guard.o).waits, unit.cfg.dense_beats)
    m.d.comb += Cover(i.moved & (ledger.owed == 1)), Cover(unit.write & unit.short)


def weights(cfg: Config, _count: int) -> Elaboratable:
    """Beats that pass the guard are written in the same cycle, each once, and only where there is room."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.loader = unit = WeightLoader(cfg)
        _job(m, c, unit, channels=cfg.k_max, outputs=3, with_parameters=0)
        for name in ("abort", "room", "parameter_room"):
            m.d.comb += getattr(unit, name).eq(c.free(1, name))
        i = source(m, c, of(unit.i), "i")
        beat = of(unit.guard.o)
        check(m, "written_once", beat.moved == (unit.write ^ unit.write_parameters))
        check(m, "with_room", implies(unit.write, unit.room))
        check(m, "with_parameter_room", implies(unit.write_parameters, unit.parameter_room))
        check(m, "entered", implies(unit.entered, unit.write) & implies(unit.parameters_entered, unit.write_parameters))
        slots = [unit.guard.o.p[port] for port in range(cfg.weight_ports)]
        same = unit.data == Cat(Value.cast(slot.weights) for slot in slots)
        check(m, "data", implies(unit.write, same))
        check(m, "only_parameters_if_told", implies(unit.write_parameters, unit.with_parameters))
        ends(m, "refused", beat.waits & unit.room & unit.parameter_room, 0)
        m.d.comb += Cover(unit.parameters_entered), Cover(unit.entered & i.waits), Cover(unit.write & unit.long)

    return resettable(describe)


def feeder(cfg: Config, _count: int) -> Elaboratable:
    """Every look-up becomes one offer, in order, with the flags of its place in the job."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.feeder = unit = Feeder(cfg)
        begun = _job(m, c, unit, tokens=cfg.rows, channels=cfg.k_max, outputs=2, dense=0)
        filled = c.free(len(unit.act_filled), "act_filled")
        entered = c.free(1, "weight_entered")
        m.d.comb += [unit.act_filled.eq(filled), unit.weight_entered.eq(entered & unit.weight_room)]
        o = Port(unit.valid, unit.ready, Cat(unit.hold, unit.last))
        sink(m, c, o, "o")
        ledger = Ledger(m, c, unit.read, o.moved, capacity=unit.latency)
        groups = Signal(2, name="groups_done")  # one in each tile
        m.d.comb += Assume(implies(unit.start, ~begun | (groups == unit.outputs)))
        check(m, "job_only", implies(o.valid | unit.read, groups < unit.outputs))
        ends(m, "stuck_inside", (ledger.owed != 0) & o.ready & ~o.valid, unit.latency)
        beat, left = Signal(range(cfg.dense_beats), name="beat"), Signal.like(unit.channels, name="left")
        hold = unit.dense & (beat != cfg.dense_beats - 1)
        last = ~hold & (left <= cfg.m_group)
        with m.If(o.moved):
            m.d.sync += beat.eq(Mux(hold, beat + 1, 0))
            with m.If(~hold):
                m.d.sync += [left.eq(Mux(last, unit.channels, left - cfg.m_group)), groups.eq(groups + last)]
        with m.If(unit.start):
            m.d.sync += [beat.eq(0), left.eq(unit.channels), groups.eq(0)]
        check(m, "hold", implies(o.valid, unit.hold == hold))
        check(m, "last", implies(o.valid & ~hold, unit.last == last))
        m.d.comb += Cover(o.moved & unit.last & unit.dense), Cover(o.waits & (ledger.owed == unit.latency))

    return resettable(describe)


def epilogue(cfg: Config, _count: int) -> Elaboratable:
    """Every real row becomes a result, the others none; the last result of the job, and no other, has ``tlast``."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.epilogue = unit = Epilogue(cfg)
        begun = _job(m, c, unit, tokens=3, outputs=2)
        i = source(m, c, of(unit.i), "i")
        # That a beat stays as it is: axi/stream/results.
        o = sink(m, c, Port(unit.o.tvalid, unit.o.tready, unit.o.tlast), "o")
        row, tile = Signal(range(5), name="row"), Signal(3, name="tile")
        place = Signal(range(cfg.rows), name="place")  # of a row in its group
        rest = Signal(name="rest")  # rows that fill up the last group of the job before
        groups_end = (row + 1) >= unit.tokens
        m.d.comb += Assume(
            implies(i.valid, begun & (rest | (tile < unit.outputs)) & (unit.i.p.last == (place == cfg.rows - 1)))
        )
        with m.If(i.moved):
            m.d.sync += place.eq(Mux(unit.i.p.last, 0, place + 1))
            with m.If(rest):
                m.d.sync += rest.eq(~unit.i.p.last)
            with m.Else():
                m.d.sync += row.eq(row + 1)
                with m.If(unit.i.p.last & groups_end):
                    m.d.sync += [row.eq(0), tile.eq(tile + 1)]
        real = named(m, i.moved & ~rest & (row < unit.tokens), "real_row")
        ledger = Ledger(m, c, real, o.moved, capacity=unit.latency + 1)
        filling_up = named(m, (tile == unit.outputs - 1) & (row >= unit.tokens), "filling_up")
        with m.If(unit.start):
            m.d.sync += [row.eq(0), tile.eq(0), rest.eq((rest | filling_up) & ~(i.moved & unit.i.p.last))]
        over = ~rest & ((tile == unit.outputs) | filling_up)
        m.d.comb += Assume(implies(unit.start, (ledger.owed == 0) & (~begun | over) & (~i.valid | filling_up)))
        final = (tile == unit.outputs) & (ledger.owed == 1)
        # Rows that fill up the last group may still be on their way when its last result has left.
        early = filling_up & (ledger.owed == 1)
        check(m, "last", implies(o.valid, unit.o.tlast == (final | early)))
        check(m, "done", unit.done == (o.moved & unit.o.tlast))
        ends(m, "stuck_inside", (ledger.owed != 0) & o.ready & ~o.valid, unit.latency + 1)
        ends(m, "refused", i.waits & o.ready, row_cycles(cfg) - 1)
        m.d.comb += (
            Cover(unit.done & (unit.outputs == 2) & (unit.tokens == 3)),
            Cover(unit.start & filling_up & i.valid),
        )

    return resettable(describe)


_CLAIMS = {
    "act_loader": "Every beat of the job is written, as one entry or its dense parts, each once; beats are taken",
    "token_loader": "Every beat of the job is written as one entry, once; beats are taken",
    "weight_loader": "Every beat of the job is written once, where there is room, unchanged, and is taken then",
    "feeder": "Every look-up becomes one offer, in order, with hold and last of its place, unchanged until it is taken",
    "epilogue": "Every real row becomes one exact result, rows that fill up a group none; tlast is on the last one",
}


def proofs() -> list[Proof]:
    """For each unit the contract and a cover."""
    cases: list[tuple[str, Any, int]] = [
        ("act_loader", partial(acts, LINEAR), 14),
        ("token_loader", partial(tokens, MEMORY), 14),
        ("weight_loader", partial(weights, LINEAR), 16),
        ("feeder", partial(feeder, LINEAR), 16),
        ("feeder/spaced", partial(feeder, _SPACED), 20),
        ("epilogue", partial(epilogue, LINEAR), 30),
        ("epilogue/short_stages", partial(epilogue, _SPACED), 40),
    ]
    found = []
    for name, build, depth in cases:
        unit, _, _ = name.partition("/")
        bound = BOUNDS.get(name)
        how = f"abc bmc3, {bound} cycles: its stages and a job of a few rows" if bound else "abc pdr"
        claim = f"{_CLAIMS[unit]} ({how}, any stalls, reset at any time)."
        mode, engine = (BMC, "abc bmc3") if bound else (PROVE, "abc pdr")
        found.append(Proof(f"stream/{name}/contract", claim, partial(build, 0), mode, engine, bound or 2))
        found.append(reached(f"stream/{name}", partial(build, 1), 1, depth))
    return found
