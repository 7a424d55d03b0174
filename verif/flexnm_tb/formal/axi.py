"""AXI at the edges: the rules for the register bus, the result stream and the memory bus."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from amaranth.hdl import Assume, Cat, Cover, Elaboratable, Module, Mux, ResetInserter, Value
from amaranth.lib.wiring import In
from flexnm_rtl.axi import OKAY, SLVERR
from flexnm_rtl.axi_lite import AxiLiteSubordinate
from flexnm_rtl.config import Config
from flexnm_rtl.decode import DecodeEngine
from flexnm_rtl.linear import LinearEngine
from flexnm_rtl.packer import Packer

from flexnm_tb.formal.axi_rules import Lite, behaves, transmits
from flexnm_tb.formal.proof import COVER, Circuit, Proof, check
from flexnm_tb.formal.rules import implies
from flexnm_tb.formal.stream_contract import Port, before, of
from flexnm_tb.formal.streams import SMALL

MEMORY = SMALL.replace(bus_width=64, tile_beats=2, outstanding=2, address_width=16)


def _under_reset(m: Module, c: Circuit, unit: Any) -> Value:
    """Add a unit with a free reset, which is returned."""
    reset: Value = c.free(1, "reset")
    m.submodules.unit = ResetInserter({"sync": reset})(unit)
    return reset


def subordinate(cover: bool) -> Elaboratable:
    """The register bus alone, with free answers of the registers behind it."""

    def describe(m: Module, c: Circuit) -> None:
        unit = AxiLiteSubordinate(4)
        reset = _under_reset(m, c, unit)
        m.d.comb += [
            unit.write_ok.eq(c.free(1, "write_ok")),
            unit.read_ok.eq(c.free(1, "read_ok")),
            unit.read_data.eq(c.free(32, "read_data")),
        ]
        lite = Lite(m, c, unit.bus, reset)
        if cover:
            m.d.comb += Cover(before(m, lite.b.waits, "b_waited") & lite.b.moved & (unit.bus.bresp == SLVERR))
            m.d.comb += Cover(before(m, lite.r.waits, "r_waited") & lite.r.moved & (unit.bus.rresp == OKAY))
            m.d.comb += Cover(lite.b.moved & lite.r.moved)
            return
        lite.check(m, reset)
        _answers(m, unit, lite, reset)

    return Circuit(describe)


def _answers(m: Module, unit: AxiLiteSubordinate, lite: Lite, reset: Value) -> None:
    """A register is written once for a request, with its address and data; answers are those of the registers."""
    bus = unit.bus
    check(m, "written_once", unit.write == (lite.aw.moved & lite.w.moved))
    check(m, "both_taken", lite.aw.moved == lite.w.moved)
    request = (unit.write_index == bus.awaddr[2:]) & (unit.write_data == bus.wdata)
    check(m, "written_as_asked", implies(unit.write, request))
    told = before(m, lite.aw.moved & ~reset, "told")
    check(m, "write_answer", implies(told, bus.bresp == Mux(before(m, unit.write_ok, "write_ok"), OKAY, SLVERR)))
    shown = Cat(unit.read_data, Mux(unit.read_ok, OKAY, SLVERR))
    check(
        m,
        "read_answer",
        implies(before(m, lite.ar.moved & ~reset, "asked"), lite.r.payload == before(m, shown, "shown")),
    )


def results() -> Elaboratable:
    """What sends the results, with everything before it free: no assumption at all."""

    def describe(m: Module, c: Circuit) -> None:
        unit = Packer(1, wide=32, narrow=8)
        reset = _under_reset(m, c, unit)
        for name in ("narrow", "valid", "last", "start"):
            m.d.comb += getattr(unit, name).eq(c.free(1, name))
        m.d.comb += [Value.cast(unit.elements).eq(c.free(32, "elements")), unit.o.tready.eq(c.free(1, "tready"))]
        transmits(m, "results", of(unit.o), reset)

    return Circuit(describe)


def engine(make: Callable[[Config], Any], cfg: Config) -> Elaboratable:
    """A whole engine between a manager, transmitters, a receiver and a memory that do what AMBA allows them."""

    def describe(m: Module, c: Circuit) -> None:
        unit = make(cfg)
        reset = _under_reset(m, c, unit)
        Lite(m, c, unit.s_axi, reset).check(m, reset)
        for name in ("s_axis_acts", "s_axis_weights"):
            if hasattr(unit, name):
                behaves(m, c, name, of(getattr(unit, name)), reset)
        m.d.comb += unit.m_axis_results.tready.eq(c.free(1, "results_taken"))
        transmits(m, "results", of(unit.m_axis_results), reset)
        if hasattr(unit, "m_axi"):
            bus = unit.m_axi
            m.d.comb += bus.arready.eq(c.free(1, "arready"))
            read = Port(bus.rvalid, bus.rready, Cat(bus.rdata, bus.rresp, bus.rlast, bus.rid))
            behaves(m, c, "r_channel", read, reset)
            held = Cat(bus.araddr, bus.arlen, bus.arsize, bus.arburst)
            transmits(m, "ar_channel", Port(bus.arvalid, bus.arready, held), reset)

    return Circuit(describe)


def twins(make: Callable[[], Any], ready: list[str], valid: list[str]) -> Elaboratable:
    """Two units with the same inputs up to a cycle in which only the other side's ``ready`` differs."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.one, m.submodules.two = one, two = make(), make()
        differ = c.free(1, "differ")
        m.d.comb += Assume(~before(m, differ, "differ"))
        for path, member, value in one.signature.flatten(one):
            name = "__".join(map(str, path))
            other = _at(two, path)
            if member.flow is In:
                m.d.comb += Value.cast(value).eq(c.free(len(Value.cast(value)), name))
                mine = Value.cast(value)
                m.d.comb += Value.cast(other).eq(mine ^ differ if name in ready else mine)
            elif name in valid:
                check(m, f"{name}_alone", value == other)

    return Circuit(describe)


def _at(unit: Any, path: Any) -> Any:
    for step in path:
        unit = unit[step] if isinstance(step, int) else getattr(unit, step)
    return unit


_RULES = "valid and payload stay until they are taken, nothing is offered while and after a reset"


def proofs() -> list[Proof]:
    """The interfaces alone, unbounded, and the engines around them."""
    lite = ["bus__bready", "bus__rready"]
    found = [
        Proof(
            "axi/lite/rules",
            f"AXI4-Lite subordinate: {_RULES}; one response for each request, after its address and data, within a "
            "cycle; requests are taken; responses say what the registers said (abc pdr, any manager, any reset).",
            partial(subordinate, False),
            engine="abc pdr",
        ),
        Proof(
            "axi/lite/reached",
            "Both responses after a wait, also together (cover).",
            partial(subordinate, True),
            mode=COVER,
            depth=8,
        ),
        Proof(
            "axi/stream/results",
            f"AXI4-Stream transmitter of both engines: {_RULES}, whatever its inputs do (abc pdr).",
            results,
            engine="abc pdr",
        ),
        Proof(
            "axi/lite/valid_alone",
            "bvalid and rvalid do not depend on bready and rready of the same cycle (abc pdr, two copies).",
            partial(twins, partial(AxiLiteSubordinate, 4), lite, ["bus__bvalid", "bus__rvalid"]),
            engine="abc pdr",
        ),
        Proof(
            "axi/stream/valid_alone",
            "tvalid of the results does not depend on tready of the same cycle (abc pdr, two copies).",
            partial(twins, partial(Packer, 1, wide=16, narrow=8), ["o__tready"], ["o__tvalid"]),
            engine="abc pdr",
        ),
    ]
    for name, make, cfg in (("linear", LinearEngine, SMALL), ("decode", DecodeEngine, MEMORY)):
        found.append(
            Proof(
                f"axi/{name}/rules",
                f"Whole {name} engine: AXI4-Lite as axi/lite/rules; results, and read requests of the decode engine: "
                f"{_RULES} (abc pdr, any traffic, any reset).",
                partial(engine, make, cfg),
                engine="abc pdr",
            )
        )
    return found
