"""All proofs: those of every module of this package that has a function ``proofs``."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter

from flexnm_rtl.config import ConfigError

from flexnm_tb import formal
from flexnm_tb.formal.proof import Proof

_TOOLS = ("catalogue", "commands", "proof", "runner", "yosys")


def all_proofs() -> list[Proof]:
    """By module, in the order of the modules' names. Raises ConfigError when two proofs share a name."""
    found: list[Proof] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(formal.__path__)):
        if module not in _TOOLS:
            make = getattr(importlib.import_module(f"{formal.__name__}.{module}"), "proofs", None)
            found += make() if make else []
    twice = [name for name, count in Counter(proof.name for proof in found).items() if count > 1]
    if twice:
        raise ConfigError(f"two proofs are called {twice[0]}: give each a name of its own")
    return found


def chosen_proofs(only: str | None) -> list[Proof]:
    """Those whose name contains ``only``. Raises ConfigError when there are none."""
    known = all_proofs()
    chosen = [proof for proof in known if only is None or only in proof.name]
    if not chosen:
        groups = sorted({proof.name.partition("/")[0] for proof in known})
        raise ConfigError(f"no proof's name contains {only}: their groups are {', '.join(groups)}")
    return chosen
