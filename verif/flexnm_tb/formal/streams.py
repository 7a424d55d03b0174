"""Units with one stream in and one out: the stream contract, and what comes out for a word that went in.

Widths are small, where control does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from amaranth.hdl import Assume, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data
from flexnm_rtl.block_selection import BlockSelection
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config
from flexnm_rtl.decompressor import Decompressor
from flexnm_rtl.dense_split import DenseSplitter, beat_base, beat_metadata
from flexnm_rtl.enumerative_acts import ActsDecoder
from flexnm_rtl.pipeline import StageControl, Waiting, delay
from flexnm_rtl.preparation import Preparation

from flexnm_tb.elaboratables import latency_of
from flexnm_tb.formal.proof import Circuit, Proof, check
from flexnm_tb.formal.rules import beats, implies, population
from flexnm_tb.formal.stream_contract import Port, covers, flow, of, reached, resettable, sink, source

CONTRACT = (
    "Words wait unchanged until they are taken, leave in the order they came, none lost and none twice, within "
    "{within} cycles; a word that is offered is taken; of any one word {value} "
    "(abc pdr, any stalls, reset at any time)."
)

_SIDES = ("keep", "start", "chunk_last", "k_last", "factors", "static_shift", "token_shift", "means")

Spec = Callable[[Config, Any, Value, Any], dict[str, Any]]
"""Conditions by name: configuration, word in, number of its part, word out."""


def _stages(depth: int, waiting: Waiting, count: int) -> Elaboratable:
    """Registers that load with the enables, two bits wide."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.control = control = StageControl(depth, waiting)
        word = Signal(2)
        i = source(m, c, Port(control.i_valid, control.i_ready, word), "i")
        o = sink(m, c, Port(control.o_valid, control.o_ready, delay(m, control.enable, word, "data")), "o")
        if count:
            covers(m, i, o, o.payload[0], count)
        ledger, followed = flow(m, c, i, o, capacity=depth, within=depth)
        check(m, "same_word", implies(ledger.arrives, o.payload == followed))

    return resettable(describe)


def _unit(
    make: Callable[[Config], Any], cfg: Config, spec: Spec, parts: int, capacity: int, within: int, count: int
) -> Elaboratable:
    """A component with the streams ``i`` and ``o``. count: words to reach in a cover, 0 for the contract."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.unit = unit = make(cfg)
        i = _with_sides(m, c, unit)
        o = sink(m, c, of(unit.o), "o")
        if count:
            covers(m, i, o, getattr(unit.o.p, "last", 1), count)
        ledger, word = flow(m, c, i, o, capacity=capacity, within=within, parts=lambda _: parts)
        conditions = spec(cfg, _view(unit.i.p, word), ledger.part, unit.o.p)
        given = conditions.pop("given", None)
        if given is not None:
            m.d.comb += Assume(given)
        for name, condition in conditions.items():
            check(m, name, implies(ledger.arrives, condition))

    return resettable(describe)


def _with_sides(m: Module, c: Circuit, unit: Any) -> Port:
    """Its input; what the preparation gets beside it belongs to the word, and waits with it."""
    sides = [Value.cast(getattr(unit, name)) for name in _SIDES if hasattr(unit, name)]
    i = of(unit.i)
    source(m, c, Port(i.valid, i.ready, Cat(i.payload, *sides)), "i")
    return i


def _view(like: Any, bits: Value) -> Any:
    shape = like.shape()
    return data.View(shape, bits) if isinstance(shape, data.Layout) else bits


def last_only(_cfg: Config, i: Any, _part: Value, o: Any) -> dict[str, Any]:
    """``last`` goes with its word."""
    return {"last": o.last == i.last}


def _masked(cfg: Config, i: Any) -> tuple[list[Value], list[Value]]:
    """Real values of a dense block, and for each whether it is one of the N largest magnitudes."""
    wide = cfg.value_width + 1
    values = [Mux(i.keep[k], i["values"][k].as_unsigned(), 0)[: cfg.value_width] for k in range(cfg.m_group)]
    size = [Mux(v[-1], -v.as_signed(), v.as_signed()).as_unsigned()[:wide] for v in values]
    group = range(cfg.m_group)
    kept = [population([beats(j, k, size) for j in group if j != k]) < cfg.n_keep for k in group]
    return values, kept


def marks(cfg: Config, i: Any, part: Value, o: Any) -> dict[str, Any]:
    """The block's real values, its mask, ``last``."""
    values, kept = _masked(cfg, i)
    same = Value.cast(o["values"]) == Cat(values)
    return {"values": same, "mask": o.mask == Cat(kept)} | last_only(cfg, i, part, o)


def compresses(cfg: Config, i: Any, part: Value, o: Any) -> dict[str, Any]:
    """Bitmask, the kept values side by side, ``last``."""
    values, kept = _masked(cfg, i)
    conditions = {"mask": o.block.metadata == Cat(kept)}
    for k, value in enumerate(values):
        place = population(kept[:k]) if k else 0
        for n in range(min(k + 1, cfg.n_keep)):
            here = kept[k] & (place == n)
            conditions[f"value_{k}_at_{n}"] = implies(here, o.block["values"][n].as_unsigned() == value)
    return conditions | last_only(cfg, i, part, o)


def restores(cfg: Config, i: Any, part: Value, o: Any) -> dict[str, Any]:
    """Each kept value in its channel, zeros elsewhere, for a bitmask of N ones; ``last``."""
    mask = i.block.metadata
    conditions: dict[str, Any] = {"given": population(list(mask)) == cfg.n_keep}
    for k in range(cfg.m_group):
        place = population(list(mask[:k])) if k else 0
        out = o["values"][k].as_unsigned()
        conditions[f"dropped_{k}"] = mask[k] | (out == 0)
        for n in range(min(k + 1, cfg.n_keep)):
            conditions[f"value_{n}_in_{k}"] = implies(mask[k] & (place == n), out == i.block["values"][n].as_unsigned())
    return conditions | last_only(cfg, i, part, o)


def splits(cfg: Config, i: Any, part: Value, o: Any) -> dict[str, Any]:
    """Part b of a dense block has the N channels from ``beat_base``, each channel in one part only."""
    final = part == cfg.dense_beats - 1
    conditions = {"hold": o.hold == ~final, "last": o.last == (i.last & final)}
    values, _ = _masked(cfg, i)
    for b in range(cfg.dense_beats):
        base = beat_base(cfg, b)
        sent = [values[base + n] if base + n >= b * cfg.n_keep else 0 for n in range(cfg.n_keep)]
        same = [o.block["values"][n].as_unsigned() == value for n, value in enumerate(sent)]
        right = Cat(same).all() & (o.block.metadata == beat_metadata(cfg, b))
        conditions[f"part_{b}"] = implies(part == b, right)
    return conditions


def decodes(cfg: Config, i: Any, part: Value, o: Any) -> dict[str, Any]:
    """Values, ``hold`` and ``last`` go with their word; what a rank means is a matter of the codec."""
    same = [Value.cast(o.blocks[r]["values"]) == Value.cast(i.blocks[r]["values"]) for r in range(cfg.rows)]
    return {"values": Cat(same).all(), "hold": o.hold == i.hold} | last_only(cfg, i, part, o)


def passes(cfg: Config, i: Any, _part: Value, o: Any) -> dict[str, Any]:
    """The slots as they came."""
    return {"slots": Value.cast(o.slots) == Value.cast(i)}


SMALL = Config(n_keep=1, m_group=2, lanes=1, act_width=4, weight_width=4, rows=1, cols=1, k_max=4, t_max=16)
PAIR = SMALL.replace(n_keep=2, m_group=4, lanes=2)
"""2:4 with 4-bit values."""

_VALUE: dict[Spec, str] = {
    last_only: "the flag last",
    marks: "the values, the mask of the N largest and last",
    compresses: "the kept values, the bitmask and last",
    restores: "every channel and last",
    splits: "all parts, hold and last",
    decodes: "the values, hold and last",
    passes: "the slots",
}


def _units() -> list[tuple[str, Callable[[Config], Any], Config, Spec, int]]:
    """Name, component, configuration, specification, words out for a word in."""
    tabled = SMALL.replace(score_factor="shift", factor_width=1, static_shift=True, token_shift=True)
    found: list[tuple[str, Callable[[Config], Any], Config, Spec, int]] = [
        ("selection/rank", BlockSelection, SMALL, marks, 1),
        ("selection/radix", BlockSelection, PAIR.replace(selector="radix"), last_only, 1),
        ("compressor/bitmask", Compressor, SMALL, compresses, 1),
        ("compressor/rank2", Compressor, PAIR.replace(selector="rank2"), last_only, 1),
        ("compressor/index", Compressor, PAIR.replace(metadata="index"), last_only, 1),
        ("compressor/enumerative", Compressor, PAIR.replace(metadata="enumerative"), last_only, 1),
        ("decompressor/bitmask", Decompressor, PAIR, restores, 1),
        ("decompressor/index", Decompressor, PAIR.replace(metadata="index"), last_only, 1),
        ("decompressor/enumerative", Decompressor, PAIR.replace(metadata="enumerative"), last_only, 1),
        ("acts_decoder", ActsDecoder, PAIR.replace(metadata="enumerative"), decodes, 1),
        ("preparation/plain", Preparation, SMALL, passes, 1),
        ("preparation/tables", Preparation, tabled, passes, 1),
    ]
    for n, m in ((1, 2), (2, 4), (2, 3)):
        cfg = SMALL.replace(n_keep=n, m_group=m, lanes=n)
        found.append((f"dense_split/{n}of{m}", DenseSplitter, cfg, splits, cfg.dense_beats))
    return found


def proofs() -> list[Proof]:
    """For each unit the contract, unbounded, and a cover."""
    found = []
    stages = {Waiting.ELASTIC: (1, 2, 3, 6), Waiting.RIGID: (3, 5), Waiting.SPACED: (1, 3, 4)}
    for waiting, depth in ((waiting, depth) for waiting, depths in stages.items() for depth in depths):
        name = f"stream/stages/{waiting.value}{depth}"
        claim = CONTRACT.format(within=depth, value="its bits")
        found.append(Proof(f"{name}/contract", claim, partial(_stages, depth, waiting, 0), engine="abc pdr"))
        found.append(reached(name, partial(_stages, depth, waiting, 4), 4, 2 * depth + 14))
    for name, make, cfg, spec, parts in _units():
        latency = latency_of(make, cfg)
        capacity = max(latency, 1) * parts
        build = partial(_unit, make, cfg, spec, parts, capacity, max(latency, parts))
        claim = CONTRACT.format(within=max(latency, parts), value=_VALUE[spec])
        found.append(Proof(f"stream/{name}/contract", claim, partial(build, 0), engine="abc pdr"))
        found.append(reached(f"stream/{name}", partial(build, 4), 4, 2 * latency + 12))
    return found
