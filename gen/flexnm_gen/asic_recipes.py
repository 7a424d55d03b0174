"""How ABC maps a design: none of these wins everywhere, so ``flexnm_gen.asic_best`` tries them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_STRUCTURES = {
    "direct": "strash; &get -n; &nf{period}; &put",
    "rewritten": "strash; &get -n; &fraig -x -C 100; &put; dc2; dc2; strash; &get -n; &dch -f; &nf{period}; &put",
}
"""``direct`` keeps the gates as the RTL draws them: chains of majorities and full adders stay such. ``rewritten`` is
Yosys's own script with two changes: its search for equal nodes has a limit (100 conflicts), without which it takes
minutes on 32 multipliers side by side, and a second ``dc2`` takes 3 to 5 % off the area of the compressors.
"""


class Hierarchy(StrEnum):
    """Which modules of a design stay modules: each is mapped by itself, and nothing is buffered across their borders.

    ``all`` of them, ``repeated``: those used several times, or ``none``: one netlist, where nets that many modules
    share get buffers. A module is mapped once however often it is used, so ``none`` takes longest.
    """

    ALL = "all"
    REPEATED = "repeated"
    NONE = "none"


@dataclass(frozen=True)
class Recipe:
    """``structure``: what ABC does before it sizes gates. ``full_adders``: majorities with a parity of the same three
    bits become full-adder cells before ABC sees the rest, where the library has such a cell.
    """

    structure: str
    full_adders: bool = False

    @property
    def name(self) -> str:
        """What ``Mapped.recipe`` says."""
        return f"{self.structure}, full adders" if self.full_adders else self.structure

    def script(self, clock_ps: float | None) -> str:
        """ABC's commands; gates are sized for a period, or not at all."""
        period = f" -D {clock_ps:g}" if clock_ps else ""
        sizing = f"buffer; upsize{period}; dnsize{period}; stime -p\n" if clock_ps else ""
        return f"{_STRUCTURES[self.structure].format(period=period)}\n{sizing}"


USUAL = Recipe("rewritten")
RECIPES = tuple(Recipe(structure, adders) for adders in (False, True) for structure in _STRUCTURES)
