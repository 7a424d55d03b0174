"""Selectors that lost: built only to be measured beside those of ``flexnm_rtl`` (``bench/selection.py``)."""

from __future__ import annotations

from collections.abc import Iterator

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from flexnm_rtl.arith import any_of
from flexnm_rtl.config import bits_for, ceil_div
from flexnm_rtl.pipeline import delay
from flexnm_rtl.select_radix import RadixSelector
from flexnm_rtl.selection import SelectorBase

Comparator = tuple[int, int]


def _named(m: Module, value: Value, name: str) -> Signal:
    signal = Signal(len(value), name=name)
    m.d.comb += signal.eq(value)
    return signal


class RadixVariant(RadixSelector):
    """``RadixSelector`` with digits of ``digit_bits`` and ``steps`` digits one after the other in a cycle."""

    def __init__(
        self,
        n_keep: int,
        m_group: int,
        score_width: int,
        *,
        digit_bits: int,
        steps: int = 1,
        score_max: int | None = None,
        runtime_n: bool = False,
    ) -> None:
        self.digit_bits = digit_bits
        self.digits_a_cycle = steps
        super().__init__(n_keep, m_group, score_width, score_max=score_max, runtime_n=runtime_n)


def odd_even_merge_sort(count: int) -> list[list[Comparator]]:
    """Batcher's network (1968) for ``count``, a power of two, in columns of comparators that touch no wire twice."""

    def sort(low: int, size: int) -> Iterator[Comparator]:
        if size > 1:
            yield from sort(low, size // 2)
            yield from sort(low + size // 2, size // 2)
            yield from merge(low, size, 1)

    def merge(low: int, size: int, step: int) -> Iterator[Comparator]:
        if 2 * step < size:
            yield from merge(low, size, 2 * step)
            yield from merge(low + step, size, 2 * step)
            yield from ((i, i + step) for i in range(low + step, low + size - step, 2 * step))
        else:
            yield low, low + step

    columns: list[list[Comparator]] = []
    depth = [0] * count
    for a, b in sort(0, count):
        at = max(depth[a], depth[b])
        depth[a] = depth[b] = at + 1
        if at == len(columns):
            columns.append([])
        columns[at].append((a, b))
    return columns


def needed(columns: list[list[Comparator]], keep: int) -> list[list[Comparator]]:
    """The comparators without which the first ``keep`` wires would end with other values, in any order."""
    ends: dict[int, bool | None] = {}  # of a wire: whether it is kept, from here on; None when that is not settled
    cut = []
    for column in reversed(columns):
        rest = []
        for a, b in column:
            of = [ends.get(wire, wire < keep) for wire in (a, b)]
            if of[0] is None or of[0] != of[1]:
                ends[a] = ends[b] = None
                rest.append((a, b))
        cut.append(rest)
    return [column for column in reversed(cut) if column]


class SortingSelector(SelectorBase):
    """Batcher's odd-even merge sort of (score, channel), a register every ``columns`` columns, cut to the N largest.

    The mask is decoded from the channels on the first N wires. With N as a port the whole network is there.
    """

    def __init__(
        self,
        n_keep: int,
        m_group: int,
        score_width: int,
        *,
        columns: int,
        score_max: int | None = None,
        runtime_n: bool = False,
    ) -> None:
        network = odd_even_merge_sort(m_group)
        self.network = network if runtime_n else needed(network, n_keep)
        self.columns = columns
        latency = ceil_div(len(self.network), columns) + 1
        super().__init__(n_keep, m_group, score_width, score_max=score_max, latency=latency, runtime_n=runtime_n)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = bits_for(self.m_group - 1)
        # Among equal scores the lower channel is larger: its number is inverted.
        wires: list[Value] = [Cat(Const(~i & ((1 << bits) - 1), bits), score) for i, score in enumerate(self.scores)]
        for k, column in enumerate(self.network):
            for a, b in column:
                wires[a], wires[b] = self._exchange(m, wires[a], wires[b], f"{k}_{a}_{b}")
            if k % self.columns == self.columns - 1 or k == len(self.network) - 1:
                stage = k // self.columns
                enable = self.enable[stage : stage + 1]
                wires = [delay(m, enable, wire, f"wire_{i}_{stage}") for i, wire in enumerate(wires)]
        places = [wire[:bits] for wire in wires[: self.m_group if self.runtime_n else self.n_keep]]
        found = [
            any_of([(place == (~i & ((1 << bits) - 1))) & self._counts(p) for p, place in enumerate(places)])
            for i in range(self.m_group)
        ]
        m.d.comb += self.mask.eq(delay(m, self.enable[-1:], Cat(found), "kept"))
        return m

    def _counts(self, place: int) -> Value:
        return self.n > place if self.runtime_n else Const(1)

    def _exchange(self, m: Module, a: Value, b: Value, name: str) -> tuple[Value, Value]:
        """The larger one first."""
        swap = _named(m, a < b, f"swap_{name}")
        return _named(m, Mux(swap, b, a), f"high_{name}"), _named(m, Mux(swap, a, b), f"low_{name}")
