"""A netlist's behaviour and the Verilog that it was made from, in one Yosys design: for proofs and simulations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_RUN = "import sys; from pyosys import libyosys as ys\nd = ys.Design()\nfor c in sys.argv[1:]: ys.Pass.call(d, c)"


def side_by_side(
    gates: str, source: str, commands: Sequence[str], folder: Path, *, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Yosys commands in a folder with ``gates.v``, module ``unit``, and ``rtl.v``, the same from ``source`` but
    called ``plain``; ``more``: further files. A process of its own, because an error of Yosys ends it, with status 1.
    """
    files = {"gates.v": gates, "rtl.v": source.replace("module unit", "module plain")}
    for name, text in (files | dict(more or {})).items():
        (folder / name).write_text(text)
    return subprocess.run(
        [sys.executable, "-c", _RUN, *commands], cwd=folder, capture_output=True, text=True, check=False
    )
