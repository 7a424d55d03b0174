"""The text form of a method: ``PATTERN[+score][+mitigation...][@int8]``.

``8:16``            N:M by magnitude
``8:16+clact+var``  with the score clact and the mitigation var
``50%``             the largest 50 % of a token
``w8:16``           weights pruned instead
``plan:FILE+var``   a pattern for each layer, and the mitigation var
``8:16@int8``       activations and weights in 8-bit integers, as the hardware computes them
``dense``           nothing pruned
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flexnm_rtl.config import ConfigError

from flexnm_model.methods.baselines import Dense, Top, WeightBlocks
from flexnm_model.methods.mitigations import Mitigation
from flexnm_model.methods.patterns import Pattern, Planned, parse_blocks
from flexnm_model.methods.registry import MITIGATIONS, SCORES
from flexnm_model.methods.scores import Part

_INTEGER = "@int8"


@dataclass(frozen=True)
class Method:
    """What is done to every sparse linear. mitigations: names, kept in the registry's order. integer: W8A8.

    Raises ConfigError for an unknown name, two mitigations that do the same step, and a score or mitigation of
    activations where none are pruned.
    """

    pattern: Pattern = field(default_factory=Dense)
    score: str = "act"
    mitigations: tuple[str, ...] = ()
    integer: bool = False

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ConfigError(f"score {self.score} is unknown: choose one of {', '.join(SCORES)}")
        for name in self.mitigations:
            if name not in MITIGATIONS:
                raise ConfigError(f"mitigation {name} is unknown: choose from {', '.join(MITIGATIONS)}")
        by_slot: dict[str, str] = {}
        for name in self.mitigations:
            other = by_slot.setdefault(MITIGATIONS[name].slot, name)
            if other != name or self.mitigations.count(name) > 1:
                raise ConfigError(f"{other} and {name} do the same step: choose one of them")
        if not self.pattern.selects and (self.score != "act" or set(self.mitigations) - {"scaling"}):
            raise ConfigError(f"{self.pattern} prunes no activations: only scaling and @int8 go with it")
        ordered = tuple(name for name in MITIGATIONS if name in self.mitigations)
        object.__setattr__(self, "mitigations", ordered)

    @staticmethod
    def parse(text: str) -> Method:
        """The method that ``text`` names, in any order of its parts. Raises ConfigError for anything else."""
        body = text.strip()
        integer = body.endswith(_INTEGER)
        written, *names = [part.strip() for part in body.removesuffix(_INTEGER).split("+")]
        scores = [name for name in names if name in SCORES]
        others = [name for name in names if name not in SCORES]
        unknown = [name for name in others if name not in MITIGATIONS]
        if unknown:
            known = ", ".join([*SCORES, *MITIGATIONS])
            raise ConfigError(f"method {body} has an unknown part {unknown[0] or 'of no name'}: known are {known}")
        if len(scores) > 1:
            raise ConfigError(f"method {body} has two scores, {scores[0]} and {scores[1]}: choose one")
        return Method(parse_pattern(written), scores[0] if scores else "act", tuple(others), integer)

    def __str__(self) -> str:
        score = () if self.score == "act" else (self.score,)
        return "+".join([str(self.pattern), *score, *self.mitigations]) + (_INTEGER if self.integer else "")

    @property
    def steps(self) -> tuple[Mitigation, ...]:
        """The mitigations themselves."""
        return tuple(MITIGATIONS[name] for name in self.mitigations)

    @property
    def parts(self) -> Iterator[Part]:
        """The score and the mitigations."""
        yield SCORES[self.score]
        yield from self.steps

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the tensors each layer must have in the parameters; empty for methods without calibration."""
        return _names(self.parts)

    @property
    def learned(self) -> tuple[str, ...]:
        """Those of ``needs`` that training makes (``methods.train``); the others come from ``methods.calibrate``."""
        return _names(part for part in self.parts if part.learned)


def _names(parts: Iterable[Part]) -> tuple[str, ...]:
    return tuple(name for part in parts for name in part.needs)


def parse_pattern(text: str) -> Pattern:
    """``dense``, ``8:16``, ``50%``, ``w8:16`` or ``plan:FILE``. Raises ConfigError for anything else."""
    written = text.strip()
    if written == "dense":
        return Dense()
    if written.startswith("plan:") and len(written) > len("plan:"):
        return Planned(written.removeprefix("plan:"))
    share = written.removesuffix("%").strip()
    if written.endswith("%") and share.isascii() and share.isdecimal() and len(share) <= 3:
        return Top(int(share))
    try:
        if written.startswith("w"):
            blocks = parse_blocks(written[1:])
            return WeightBlocks(blocks.n, blocks.m)
        return parse_blocks(written)
    except ConfigError as error:
        if "not N:M" not in str(error):
            raise
    raise ConfigError(f"pattern {written or '(none)'} is unknown: write dense, 8:16, 50%, w8:16 or plan:FILE")
