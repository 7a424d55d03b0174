"""Mutants that no test noticed: proved equivalent, explained by hand, or a gap in the tests."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from flexnm_rtl.config import ConfigError

from flexnm_tb.mutation.design import Design, yosys
from flexnm_tb.mutation.mutant import Mutant
from flexnm_tb.mutation.session import Verdict

EXPLAINED = Path(__file__).with_name("explained.toml")
_PROOFS = "proofs.json"
_SECONDS = 20
_MODULE = re.compile(r"\\?(\S+?) ?\(")
_LIMIT = 120.0
"""Seconds for a proof in the end, whatever it is at."""


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed. where: its line of the generated Verilog, with the text. proof: why it is
    equivalent, if it was proved. reason: what ``explained.toml`` says of it, if anything.
    """

    number: int
    identity: str
    where: str
    proof: str
    reason: str

    @property
    def open(self) -> bool:
        """Whether nobody knows why it survived."""
        return not self.proof and not self.reason


def read_explained(file: Path = EXPLAINED) -> dict[str, dict[str, str]]:
    """Reasons by component and identity. Raises ConfigError for a file of another form."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file.name} is no TOML: {error}") from None
    for component, reasons in content.items():
        if not isinstance(reasons, dict) or not all(isinstance(v, str) and v.strip() for v in reasons.values()):
            raise ConfigError(f'{file.name}, [{component}]: every line must be "identity of a mutant" = "reason"')
    return content


def survivors(
    design: Design,
    verdicts: Mapping[int, Verdict],
    reasons: Mapping[str, str],
    advance: Callable[[int], None] = lambda _: None,
) -> list[Survivor]:
    """All survivors; for those without an explanation a proof is looked for, once.

    reasons: explanations by identity. advance: called with 1 for each survivor.
    """
    file = design.folder / _PROOFS
    known: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found = []
    for mutant in design.mutants:
        if verdicts[mutant.number].killed:
            continue
        identity = mutant.identity(design.top)
        if str(mutant.number) not in known and identity not in reasons:
            known[str(mutant.number)] = proof_of(design, mutant)
            draft = file.with_suffix(".draft")
            draft.write_text(json.dumps(known, indent=1), encoding="utf-8")
            draft.replace(file)
        where = f"{design.top}.v:{mutant.line}: {design.source_line(mutant)}"
        found.append(
            Survivor(mutant.number, identity, where, known.get(str(mutant.number), ""), reasons.get(identity, ""))
        )
        advance(1)
    return found


def proof_of(design: Design, mutant: Mutant, seconds: int = _SECONDS) -> str:
    """How a mutant was proved equivalent; an empty text when it was not, for whatever reason."""
    tops = list(dict.fromkeys((*around(mutant.module, "\n".join(design.sources.values())), design.toplevel)))
    task = {"task": "prove", "sources": list(design.sources), "top": design.toplevel, "seconds": seconds}
    for top in tops:
        try:
            answer = yosys(task | {"mutant": asdict(mutant), "tops": [top]}, design.sources, timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            continue
        how: str = json.loads(answer)
        if how:
            return how
    return ""


def around(module: str, verilog: str) -> list[str]:
    """The module, the one that has it, the one that has that, …, as long as there is only one that has."""
    inside: dict[str, set[str]] = {}
    for text in re.split(r"^module ", verilog, flags=re.MULTILINE)[1:]:
        name = _MODULE.match(text)
        for part in re.findall(r"^  (\\?\S+) +\S+ +\($", text, re.MULTILINE):
            if name:
                inside.setdefault(part.removeprefix("\\"), set()).add(name[1])
    chain = [module]
    while len(outer := inside.get(chain[-1], set())) == 1:
        chain += outer
    return chain
