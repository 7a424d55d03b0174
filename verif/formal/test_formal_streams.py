"""The proofs of streams and of AXI: the quick ones hold, and a broken unit is noticed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from amaranth.hdl import Elaboratable, Module, Signal
from flexnm_tb.formal.catalogue import all_proofs, chosen_proofs
from flexnm_tb.formal.proof import Circuit, Proof
from flexnm_tb.formal.runner import FAILED, PROVED, Runner
from flexnm_tb.formal.stream_contract import Port, flow, resettable, sink, source

UNITS = (
    *(
        "stages",
        "selection",
        "compressor",
        "decompressor",
        "acts_decoder",
        "dense_split",
        "preparation",
        "drain",
        "array",
    ),
    *("packer", "packet_guard", "group_store", "group_buffer", "row_reader", "channel_walker", "vector_mac"),
    *("act_loader", "weight_loader", "token_loader", "feeder", "epilogue"),
)


def _register(fault: str) -> Elaboratable:
    """A stage of one register under the contract. fault: ``none``, ``drops``, ``repeats`` or ``changes``."""

    def describe(m: Module, c: Circuit) -> None:
        i = source(m, c, Port(Signal(name="iv"), Signal(name="ir"), Signal(2, name="ip")), "i")
        full, word = Signal(), Signal(2)
        o = sink(m, c, Port(full, Signal(name="or"), word), "o")
        room = ~full | (1 if fault == "drops" else o.ready)
        m.d.comb += i.ready.eq(room)
        with m.If(i.moved):
            m.d.sync += [full.eq(1), word.eq(i.payload)]
        with m.Elif(o.moved & (fault != "repeats")):
            m.d.sync += full.eq(0)
        if fault == "changes":
            with m.If(o.waits):
                m.d.sync += word.eq(word + 1)
        flow(m, c, i, o, capacity=1, within=1)

    return resettable(describe)


@pytest.mark.parametrize(
    ("fault", "result"), [("none", PROVED), ("drops", FAILED), ("repeats", FAILED), ("changes", FAILED)]
)
def test_contract_notices_a_broken_stage(tmp_path: Path, fault: str, result: str) -> None:
    proof = Proof(f"test/{fault}", "A stage keeps the contract.", partial(_register, fault), engine="abc pdr")
    assert Runner(tmp_path, timeout=60, fresh=True).one(proof).result == result


def test_every_unit_with_streams_has_a_contract_and_a_cover() -> None:
    names = [proof.name for proof in all_proofs()]
    for unit in UNITS:
        own = [name for name in names if name.startswith(f"stream/{unit}/")]
        assert any(name.endswith("/contract") for name in own), unit
        assert any(name.endswith("/reached") for name in own), unit


@pytest.mark.parametrize("name", ["axi/lite/rules", "stream/dense_split/2of3/contract"])
def test_quick_proofs_hold(tmp_path: Path, name: str) -> None:
    (proof,) = chosen_proofs(name)
    assert Runner(tmp_path, timeout=60, fresh=True).one(replace(proof)).result == PROVED
