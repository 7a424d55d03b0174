"""OpenSTA on a mapped netlist: one start of ``sta`` that reads the cells and the design, then does what it is told.

The Liberty files are read as they came, with the tables of power that ``flexnm_gen.liberty`` leaves out. All figures go
in and come out in ps, fF and uW, whatever the units of the library.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flexnm_rtl.config import ConfigError

from flexnm_gen.liberty import liberty_text

UNITS = "set_cmd_units -time ps -capacitance fF -power uW\n"
"""Those of everything that a script says or reports; only once a Liberty file is read."""


def run_sta(
    script: str, liberty: Sequence[Path], files: Mapping[str, str], edit: Callable[[str], str] = lambda text: text
) -> str:
    """What ``sta`` writes: it reads the files of one library, then runs the Tcl ``script`` beside the named ``files``.

    edit: applied to the text of every Liberty file.

    Raises ConfigError where ``sta`` is missing, or does not understand the library.
    """
    program = shutil.which("sta")
    if program is None:
        raise ConfigError("sta is missing, which computes timing and power: install OpenSTA (Debian package opensta)")
    named = ", ".join(map(str, liberty))
    with tempfile.TemporaryDirectory() as folder:
        texts = {f"cells{i}.lib": edit(liberty_text(path)) for i, path in enumerate(liberty)}
        cells = "".join(f"read_liberty {name}\n" for name in texts)
        for name, text in {**texts, **files, "script.tcl": cells + UNITS + script + "exit\n"}.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        command = [program, "-no_init", "-no_splash", "-exit", "script.tcl"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    errors = re.findall(r"^Error: (.*)", done.stderr + done.stdout, re.MULTILINE)
    wrong = next((error for error in errors if re.match(r"cells\d+\.lib", error)), None)
    if wrong:
        raise ConfigError(f"LIBERTY={named} cannot be read by sta: {wrong}")
    if errors or done.returncode:
        raise RuntimeError(f"sta failed: {(errors or [f'exit status {done.returncode}'])[0]}")
    return done.stdout
