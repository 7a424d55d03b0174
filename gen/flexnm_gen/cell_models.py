"""Verilog of a library's cells, from the functions and flip-flops in its Liberty files, for a gate simulation.

``python -m flexnm_gen.cell_models TARGET LIBERTY...`` does it in a process of its own, as ``flexnm_gen.asic_map``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flexnm_rtl.config import ConfigError

from flexnm_gen.liberty import read_liberty

_IGNORED = "-ignore_miss_func -ignore_miss_dir -ignore_miss_data_latch -ignore_buses"


def cell_models(names: set[str], liberty: Sequence[Path]) -> str:
    """Modules of the named cells. Without delays; flip-flops start at 0 in a two-valued simulation.

    Raises ConfigError for a cell without a function, of which no model can be made.
    """
    texts = read_liberty(liberty).texts
    with tempfile.TemporaryDirectory() as folder:
        for i, text in enumerate(texts):
            Path(folder, f"cells{i}.lib").write_text(text, encoding="utf-8")
        Path(folder, "names").write_text("\n".join(sorted(names)), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "flexnm_gen.cell_models", *(f"cells{i}.lib" for i in range(len(texts)))]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines()
            named = ", ".join(map(str, liberty))
            raise ConfigError(f"LIBERTY={named} gives no model of every cell: {lines[-1] if lines else 'Yosys ended'}")
        return Path(folder, "models.v").read_text(encoding="utf-8")


def _main(files: Sequence[str]) -> None:
    from pyosys import libyosys as ys

    design = ys.Design()
    for file in files:
        ys.Pass.call(design, f"read_liberty {_IGNORED} {file}")
    names = Path("names").read_text(encoding="utf-8").split()
    found = {module.name.str().removeprefix("\\") for module in design.modules_.values()}
    missing = [name for name in names if name not in found]
    if missing:
        sys.exit(f"{missing[0]} has no function")
    ys.Pass.call(design, "opt -full")
    ys.Pass.call(design, f"select {' '.join(names)}")
    ys.Pass.call(design, "write_verilog -selected -noattr models.v")


if __name__ == "__main__":
    _main(sys.argv[1:])
