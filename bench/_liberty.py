"""What the measurements in standard cells have in common on their command lines."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from flexnm_rtl.config import ConfigError


def liberty_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options ``--liberty`` and ``--json``; doc: the script's docstring."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument(
        "--liberty", type=Path, action="append", metavar="FILE", help="once for each file (default: $LIBERTY)"
    )
    parser.add_argument("--json", type=Path)
    return parser


def exit_status(run: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> int:
    """Exit status of ``run`` with the options of the command line.

    ``liberty`` is filled in from the environment. 2, and one line, for what cannot be used; 130 when interrupted.
    """
    options = parser.parse_args()
    options.liberty = options.liberty or [Path(name) for name in shlex.split(os.environ.get("LIBERTY", ""))]
    try:
        run(options)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
