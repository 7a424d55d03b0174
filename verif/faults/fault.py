"""A deliberate bug."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """``old``, which stands once in ``file`` of rtl/flexnm_rtl, becomes ``new``.

    case: the parameters of ``test_verilator`` or ``test_icarus_lets_no_unknown_out`` in ``bench``, a file of verif/sim.
    """

    name: str
    file: str
    old: str
    new: str
    case: str
    test: str = "test_verilator"
    bench: str = "test_sim_units.py"
