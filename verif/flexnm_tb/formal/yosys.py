"""Yosys as SymbiYosys calls it, ``yosys.py -ql LOG SCRIPT``, by way of pyosys.

The native library starts in a fraction of a second where the WebAssembly program first compiles for more than a
minute. An error of Yosys ends the process with status 1. Imports nothing but Yosys.
"""

from __future__ import annotations

import sys

from pyosys import libyosys as ys


def main(arguments: list[str]) -> int:
    """Run a script with its messages in a log file; 2 when the command line is not the one that is known."""
    if len(arguments) != 3 or arguments[0] != "-ql":
        print(f"yosys.py: error: {' '.join(arguments)}: give -ql LOG SCRIPT", file=sys.stderr)
        return 2
    _, log, script = arguments
    ys.run_pass(f"tee -q -o {log} script {script}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
