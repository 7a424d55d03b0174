"""Selection with N and M chosen at run time: one block of 32 channels, 2 of 16, 4 of 8 or 8 of 4 side by side."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import any_of, at_least, column_sum, named
from flexnm_rtl.config import bits_for, ceil_div
from flexnm_rtl.pipeline import delay
from flexnm_rtl.select_radix import DIGIT_BITS, DigitSearch, after_digit, reaches

SMALLEST = 4
"""Channels of the smallest block, and of a leaf of the counting trees."""

Counts = list[list[Value]]


class FlexibleSelector(wiring.Component):
    """Picks the N largest scores of every block, the lower channel first among equals; blocks lie side by side.

    ``scores``: ``width`` unsigned scores, channel 0 lowest. ``level``: blocks have ``SMALLEST << level`` channels, up
    to ``width``, a power of two. ``n``: N, 1 .. M. Both must not change while blocks are under way. ``enable``,
    ``mask``, timing: as in ``SelectorBase``.

    The threshold search of ``RadixSelector`` with one threshold for each leaf of four channels. Counting trees give
    the number of channels at or above each digit value in every leaf, pair of leaves, and so on; a leaf takes the
    verdict of the node that is its block. Ties are filled up along the same trees: a block's places that are left
    pass down to its leaves, the left half first.
    Latency: ``latency`` cycles (one a digit, ties 2).
    """

    digit_bits = DIGIT_BITS

    def __init__(self, width: int, score_width: int, *, score_max: int | None = None) -> None:
        self.width = width
        self.score_width = score_width
        self.score_max = (1 << score_width) - 1 if score_max is None else score_max
        self.leaves = width // SMALLEST
        self.levels = bits_for(self.leaves) + 1
        self.digits = ceil_div(score_width, self.digit_bits)
        self.latency = self.digits + 2
        super().__init__(
            {
                "scores": In(data.ArrayLayout(unsigned(score_width), width)),
                "n": In(range(width + 1)),
                "level": In(range(self.levels)),
                "enable": In(self.latency),
                "mask": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        is_level = [Signal(name=f"is_level_{k}") for k in range(self.levels)]
        m.d.comb += [hit.eq(self.level == k) for k, hit in enumerate(is_level)]
        search = DigitSearch(self)
        for stage in range(self.digits):
            before = (search.chosen, search.tied)
            search.settle(m, *self._narrow(m, stage, *search.digit(), before, is_level))
            search.store(m, self.enable[stage : stage + 1], f"{stage}")
        kept = self._ties(m, search.chosen, search.tied, is_level)
        m.d.comb += self.mask.eq(delay(m, self.enable[-1:], kept, "kept"))
        return m

    def _narrow(
        self,
        m: Module,
        stage: int,
        digits: list[Value],
        largest: int,
        state: tuple[Value, Value],
        is_level: list[Signal],
    ) -> tuple[Value, Value]:
        """One digit, whose values go up to ``largest``."""
        reached = [[reaches(digit, d, largest) for digit in digits] for d in range(1, largest + 1)]
        # enough[d - 1][leaf]: the leaf's block has N channels or more whose digit is d or above.
        enough: list[list[Value]] = []
        for d, above in enumerate(reached, 1):
            counts = self._counts(m, above, f"count_{stage}_{d}")
            verdicts = [[self._at_least_n(m, c, f"enough_{stage}_{d}_{k}_{j}") for j, c in enumerate(row)]
                        for k, row in enumerate(counts)]  # fmt: skip
            enough.append(self._pass_down(m, verdicts, is_level, f"verdict_{stage}_{d}"))
        return after_digit(*state, reached, enough)

    def _counts(self, m: Module, bits: Sequence[Value], name: str) -> Counts:
        """Set bits of every node: ``result[k][j]`` counts block j of ``SMALLEST << k`` channels."""
        leaf_columns = [[list(bits[start : start + SMALLEST]), [], []] for start in range(0, self.width, SMALLEST)]
        rows: Counts = [
            [named(m, column_sum(m, c, f"{name}_{j}"), f"{name}_0_{j}") for j, c in enumerate(leaf_columns)]
        ]
        for k in range(1, self.levels):
            below = rows[-1]
            pairs = zip(below[::2], below[1::2], strict=True)
            rows.append([self._add(m, low, high, f"{name}_{k}_{j}") for j, (low, high) in enumerate(pairs)])
        return rows

    def _add(self, m: Module, low: Value, high: Value, name: str) -> Value:
        columns = [*([a, b] for a, b in zip(low, high, strict=True)), []]
        return named(m, column_sum(m, columns, f"{name}_add"), name)

    def _at_least_n(self, m: Module, count: Value, name: str) -> Value:
        """``count >= n``; ``n`` never exceeds the block's size, so that its higher bits are 0."""
        return at_least(m, count, self.n[: len(count)], name)

    def _pass_down(self, m: Module, rows: Sequence[Sequence[Value]], is_level: list[Signal], name: str) -> list[Value]:
        """For every leaf the value of the node that is its block."""
        current = [rows[-1][0]]
        for k in reversed(range(self.levels - 1)):
            current = [
                named(m, Mux(is_level[k], own, current[j // 2]), f"{name}_{k}_{j}") for j, own in enumerate(rows[k])
            ]
        return current

    def _ties(self, m: Module, chosen: Value, tied: Value, is_level: list[Signal]) -> Value:
        """The mask: chosen channels and the lowest tied ones, as many as places are left in the block.

        ``used`` of a node: chosen channels of its block and tied ones of the block to the left of the node.
        """
        enable = self.enable[-2:-1]
        ones = self._counts(m, list(chosen), "chosen_count")
        ties = self._counts(m, list(tied), "tied_count")
        used = [ones[-1][0]]
        for k in reversed(range(self.levels - 1)):
            row = []
            for j, own in enumerate(ones[k]):
                inherited = used[j // 2] + ties[k][j - 1] if j % 2 else used[j // 2]
                row.append(named(m, Mux(is_level[k], own, inherited)[: len(self.n)], f"used_{k}_{j}"))
            used = row
        held_chosen, held_tied = delay(m, enable, chosen, "sure"), delay(m, enable, tied, "candidates")
        mask = []
        for leaf, before in enumerate(used):
            room = self._room(m, before, leaf)
            held = delay(m, enable, room, f"room_{leaf}")
            for i in range(SMALLEST):
                channel = SMALLEST * leaf + i
                first = held_tied[SMALLEST * leaf : channel]
                fits = held[i] if not i else self._fits(m, first, held, f"fits_{channel}")
                mask.append(held_chosen[channel] | (held_tied[channel] & fits))
        return Cat(mask)

    def _room(self, m: Module, used: Value, leaf: int) -> Value:
        """Thermometer: bit i set when more than i places are left for the leaf."""
        width = len(self.n) + 1
        left = named(m, (self.n - used)[:width], f"left_{leaf}")
        negative, many = left[-1], left[2:-1].any()
        low = left[:2]
        bits = [~negative & (many | (low > i)) for i in range(SMALLEST - 1)]
        return Cat(*bits, ~negative & many)

    def _fits(self, m: Module, before: Value, room: Value, name: str) -> Value:
        """A tied channel with ``before`` tied ones in front of it in its leaf finds a place."""
        count = len(before)
        return named(m, any_of([_population(before, k) & room[k] for k in range(count + 1)]), name)


def _population(bits: Value, k: int) -> Value:
    """Exactly k of at most three bits are set."""
    total = (
        Cat(bits[0] ^ bits[1] ^ bits[2], (bits[0] & bits[1]) | (bits[2] & (bits[0] | bits[1])))
        if len(bits) == 3
        else (Cat(bits[0] ^ bits[1], bits[0] & bits[1]) if len(bits) == 2 else bits)
    )
    return total == k
