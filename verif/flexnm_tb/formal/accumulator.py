"""Accumulators do not overflow for K <= k_max, and with one bit less they would.

The bound is kept by induction: after s additions of ``lanes`` products a sum lies within s * lanes * largest product.
The reference is an accumulator of its own, too wide to overflow.
"""

from __future__ import annotations

from functools import partial
from unittest.mock import Mock, patch

from amaranth.hdl import Assume, Const, Cover, Fragment, Module, Mux, Signal, Value, signed
from flexnm_rtl.arith import balanced_sum
from flexnm_rtl.config import Config, sum_bits
from flexnm_rtl.processing_element import ProcessingElement
from flexnm_rtl.row_accumulator import RowAccumulator

from flexnm_tb.formal.proof import COVER, Circuit, Proof, check
from flexnm_tb.formal.rules import history, implies, named, settled

SMALL = Config(n_keep=2, m_group=4, act_width=4, weight_width=4, lanes=2, k_max=8)
DESIGNS = {
    "2:4/width_4/k_max_8": SMALL,
    "8:16/width_8/k_max_16384": Config(),
}
ONE_ROW = Config(rows=1)


class _OneBitLess(Config):
    """The same design with too narrow an accumulator."""

    @property
    def acc_width(self) -> int:
        """One bit less than needed."""
        return super().acc_width - 1


def _element(cfg: Config) -> Circuit:
    """An element, its multipliers cut to free products in their range, against a reference."""

    def describe(m: Module, c: Circuit) -> None:
        element = ProcessingElement(cfg)
        largest = 1 << (cfg.product_width - 2)
        free = [c.free(signed(cfg.product_width), f"product_{lane}") for lane in range(cfg.lanes)]
        m.d.comb += [Assume((product <= largest) & (product >= -largest)) for product in free]
        # Whatever is multiplied, the product is the next free number: the range comes from the lemma.
        with patch.object(Value, "__mul__", Mock(side_effect=list(free))) as multiplied:
            m.submodules.element = Fragment.get(element, None)
        assert multiplied.call_count == cfg.lanes
        accumulate, clear = c.free(1, "accumulate"), c.free(1, "clear")
        products = [history(m, product, 1, f"product_{lane}") for lane, product in enumerate(free)]
        m.d.comb += [element.accumulate.eq(accumulate), element.clear.eq(clear)]
        step = cfg.lanes * largest
        _against(m, cfg.k_max // cfg.lanes, step, accumulate, clear, sum(products[1:], products[0]), element.total)

    return Circuit(describe)


def _against(
    m: Module, steps: int, step: int, add: Value, clear: Value, term: Value, total: Value, *, early: bool = False
) -> None:
    """A total that ``steps`` terms up to ``step`` are added to; ``clear`` comes with the first of them.

    early: the total is 0 as soon as ``clear`` is set, which stays so until the first term.
    """
    limit = steps * step
    exact = Signal(signed(limit.bit_length() + 3), name="exact")
    bound = Signal(limit.bit_length() + 1, name="bound")
    started = Signal()
    m.d.comb += Assume(implies(add & ~clear, started & (bound <= limit - step)))
    with m.If(add):
        m.d.sync += [
            started.eq(1),
            bound.eq(Mux(clear, step, bound + step)),
            exact.eq(Mux(clear, 0, exact) + term),
        ]
    m.d.comb += Cover(started & (total != exact) & ~(clear if early else Const(0)))
    check(m, "limit", bound <= limit)
    check(m, "bound", (exact <= bound.as_signed()) & (exact >= -bound))
    check(
        m, "exact", ~(started | (clear if early else Const(0))) | (total == (Mux(clear, 0, exact) if early else exact))
    )


def _product(width: int) -> Circuit:
    """Two numbers of ``width`` bits."""

    def describe(m: Module, c: Circuit) -> None:
        product = named(m, c.free(signed(width), "a") * c.free(signed(width), "b"), "product")
        largest = 1 << (2 * width - 2)
        check(m, "range", (product <= largest) & (product >= -largest))

    return Circuit(describe)


def _row(cfg: Config, less: int) -> Circuit:
    """One row of sums of activations, as ``GroupMeans`` has them, ``less`` bits narrower."""

    def describe(m: Module, c: Circuit) -> None:
        term, total = signed(cfg.act_width), signed(sum_bits(cfg.k_max, cfg.act_width) - less)
        m.submodules.row = row = RowAccumulator(cfg, term, cfg.m_group, total)
        terms, valid, fresh = c.free(cfg.m_group * cfg.act_width, "terms"), c.free(1, "valid"), c.free(1, "fresh")
        numbers = [terms.word_select(k, cfg.act_width).as_signed() for k in range(cfg.m_group)]
        m.d.comb += [Value.cast(row.terms).eq(terms), row.valid.eq(valid & settled(m, 1)), row.start.eq(fresh)]
        m.d.comb += Assume(implies(~settled(m, 1), fresh))
        added = history(m, row.valid & ~fresh, 1, "added") & ~fresh
        beat = history(m, balanced_sum(numbers), 1, "beat")
        after_start = Signal()
        m.d.sync += after_start.eq(fresh | (after_start & ~added))
        step = cfg.m_group << (cfg.act_width - 1)
        _against(m, cfg.k_max // cfg.m_group, step, added, after_start, beat, row.total, early=True)

    return Circuit(describe)


def proofs() -> list[Proof]:
    """Elements and rows: the width that a configuration gives holds, one bit less does not."""
    found = [
        Proof(
            name=f"accumulator/element/{name}",
            claim="After s additions the sum of an element lies within s * lanes * 2^(product bits - 2), and equals "
            "that of an accumulator too wide to overflow, for up to k_max products since `clear` (k-induction, "
            "multipliers cut to free products in that range).",
            build=partial(_element, cfg),
            depth=2,
        )
        for name, cfg in DESIGNS.items()
    ]
    found += [
        Proof(
            name="accumulator/lemma/product/width_8",
            claim="The product of two signed numbers of 8 bits lies within 2^14 (all values).",
            build=partial(_product, 8),
            depth=1,
        ),
        Proof(
            name="accumulator/row/8:16/width_8/k_max_16384",
            claim="A row's sum of activations equals that of an accumulator too wide to overflow, for up to k_max "
            "channels (k-induction).",
            build=partial(_row, ONE_ROW, 0),
            depth=2,
        ),
        Proof(
            name="accumulator/row/2:4/width_4/k_max_8/two_bits_less",
            claim="With two bits less a row's sum does overflow within k_max channels (a run is found; where k_max "
            "is a power of two the width has one bit to spare).",
            build=partial(_row, SMALL.replace(rows=1), 2),
            mode=COVER,
            depth=8,
        ),
    ]
    narrow = _OneBitLess(**SMALL.as_dict())  # type: ignore[arg-type]
    found.append(
        Proof(
            name="accumulator/element/2:4/width_4/k_max_8/one_bit_less",
            claim="With one bit less the sum of an element does overflow within k_max products: the check can fail "
            "(a run is found).",
            build=partial(_element, narrow),
            mode=COVER,
            depth=8,
        )
    )
    return found
