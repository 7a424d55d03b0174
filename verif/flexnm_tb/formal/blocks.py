"""Around the selector: scores, alignment of mask and values, and compress then decompress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from amaranth.hdl import Assume, Cat, Const, Elaboratable, Fragment, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from flexnm_rtl import layouts
from flexnm_rtl.block_selection import BlockSelection
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config, Metadata, Selector
from flexnm_rtl.decompressor import Decompressor
from flexnm_rtl.selection import SelectorBase

from flexnm_tb.formal.proof import FORWARD, Circuit, Proof, check
from flexnm_tb.formal.rules import bare, history, named, population, settled

PATTERNS = ((2, 4), (4, 8), (8, 16), (16, 32))
WIDTH = 8


WHOLE_RANKS = 8
"""Up to so many channels a round trip goes through the enumerative codec."""

SLICED = 32
"""From so many channels on, a proof for each bit of the values."""


class _AnyMask(SelectorBase):
    """In the place of a selector: any mask with N bits, another one every cycle."""

    def __init__(self, n: int, m: int, circuit: Circuit) -> None:
        super().__init__(n, m, WIDTH, latency=1)
        self.circuit = circuit

    def elaborate(self, platform: object) -> Module:
        m = Module()
        free = self.circuit.free(self.m_group, "any_mask")
        m.d.comb += [self.mask.eq(free), Assume(population(free) == self.n_keep)]
        return m


class _Moving(Elaboratable):
    """In the place of ``StageControl``: all stages move in every cycle."""

    def __init__(self, depth: int) -> None:
        self.i_valid, self.i_ready, self.o_valid, self.o_ready = (Signal() for _ in range(4))
        self.enable = Signal(depth)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.enable.eq(-1), self.i_ready.eq(1), self.o_valid.eq(1)]
        return m


class _Marked(wiring.Component):
    """In the place of the first half of a compressor: any block with any mask."""

    def __init__(self, cfg: Config, values: Value, mask: Value) -> None:
        self.latency, self.values, self.marks = 0, values, mask
        super().__init__(
            {
                "i": In(stream.Signature(layouts.scored_in(cfg))),
                "o": Out(stream.Signature(layouts.marked(cfg))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [Value.cast(self.o.p["values"]).eq(self.values), self.o.p.mask.eq(self.marks), self.o.valid.eq(1)]
        return m


@contextmanager
def _moving() -> Iterator[None]:
    """While this is open, compressors and decompressors are made without stalls."""
    modules = ("compressor", "decompressor")
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(patch(f"flexnm_rtl.{module}.StageControl", _Moving))
        yield


def _config(n: int, m: int, metadata: Metadata = Metadata.BITMASK) -> Config:
    return Config(n_keep=n, m_group=m, lanes=1, metadata=metadata, selector=Selector.RANK)


def _scores(n: int, channels: int) -> Circuit:
    """What the selector sees is the magnitude, or 0 for padding; what leaves with its mask are the same values."""

    def describe(m: Module, c: Circuit) -> None:
        cfg = _config(n, channels)
        unit = BlockSelection(cfg)
        bare(unit.selector)
        selector = unit.selector = _AnyMask(n, channels, c)
        m.submodules.unit = unit
        values, keep, last = c.free(channels * WIDTH, "values"), c.free(channels, "keep"), c.free(1, "last")
        m.d.comb += [
            Value.cast(unit.i.p["values"]).eq(values),
            unit.i.p.keep.eq(keep),
            unit.i.p.last.eq(last),
            unit.i.valid.eq(1),
            unit.o.ready.eq(1),
        ]
        real = [
            values.word_select(i, WIDTH).as_signed() & keep[i].replicate(WIDTH).as_signed() for i in range(channels)
        ]
        for i, value in enumerate(real):
            size = named(m, Mux(value < 0, -value, value), f"size_{i}")
            check(m, f"score_{i}", ~settled(m, 1) | (selector.scores[i] == history(m, size, 1, f"size_{i}")))
            late = history(m, value, unit.latency, f"value_{i}")
            check(m, f"value_{i}", ~settled(m, unit.latency) | (unit.o.p["values"][i] == late))
        check(m, "mask", unit.o.p.mask == selector.mask)
        check(m, "last", ~settled(m, unit.latency) | (unit.o.p.last == history(m, last, unit.latency, "last")))

    return Circuit(describe)


def _round_trip(n: int, channels: int, metadata: Metadata, bit: int | None = None) -> Circuit:
    """Compressor, with any block and mask in the place of its selection, then decompressor.

    bit: of the values, or all.
    """

    def describe(m: Module, c: Circuit) -> None:
        cfg = _config(n, channels, metadata)
        packer, unpacker = Compressor(cfg), Decompressor(cfg)
        bare(bare(packer.selection).selector)
        values, mask = c.free(channels * WIDTH, "values"), c.free(channels, "mask")
        marked: Any = _Marked(cfg, values, mask)
        packer.selection = marked
        m.d.comb += Value.cast(unpacker.i.p).eq(Value.cast(packer.o.p))
        with _moving():
            m.submodules.packer = Fragment.get(packer, None)
            m.submodules.unpacker = Fragment.get(unpacker, None)
        cycles = packer.depth + unpacker.latency
        late, seen = history(m, mask, cycles, "mask"), history(m, values, cycles, "values")
        ready = named(m, settled(m, cycles) & (population(list(late)) == n), "ready")
        part = slice(None) if bit is None else slice(bit, bit + 1)
        for i in range(channels):
            found = Cat(unpacker.o.p["values"][i])
            expected = Mux(late[i], seen.word_select(i, WIDTH), Const(0, WIDTH))
            check(m, f"channel_{i}", ~ready | (found[part] == expected[part]))

    return Circuit(describe)


def proofs() -> list[Proof]:
    """For every pattern, and the way there and back for every kind of metadata."""
    found = []
    for n, m in PATTERNS:
        found.append(
            Proof(
                name=f"block_selection/{n}:{m}/alignment",
                claim="The selector is given the magnitude of every real channel and 0 for padding; values and `last` "
                "leave in the cycle of their mask, without stalls (abc pdr, all values, selector cut to any mask).",
                build=partial(_scores, n, m),
                engine="abc pdr",
            )
        )
        bits = [None] if m < SLICED else list(range(WIDTH))
        found += [
            Proof(
                name=f"compress/{n}:{m}/{metadata.value}/round_trip{'' if bit is None else f'/bit_{bit}'}",
                claim="Compress, then decompress: kept channels have their values, the others are 0, for every mask "
                "with N bits, without stalls (all values, selection cut to any block and mask, canonical forms; from "
                "32 channels on one bit of the values at a time).",
                build=partial(_round_trip, n, m, metadata, bit),
                engine=FORWARD,
            )
            for metadata in Metadata
            if metadata is not Metadata.ENUMERATIVE or m <= WHOLE_RANKS
            for bit in bits
        ]
    return found
