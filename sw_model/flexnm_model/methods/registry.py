"""Every score and mitigation by name, and the shapes of the tensors they need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flexnm_model.methods import mitigations, scores
from flexnm_model.methods.mitigations import Mitigation, RSparse
from flexnm_model.methods.scores import Part, Score

SCORES: Mapping[str, Score] = {
    score.name: score for score in (scores.Act(), scores.Clact(), scores.Amber(), scores.Variance())
}
# In the order in which a method's text names them.
MITIGATIONS: Mapping[str, Mitigation] = {
    part.name: part
    for part in (
        mitigations.Scaling(),
        mitigations.SPts(),
        mitigations.LPts(),
        mitigations.DPts(),
        mitigations.DPtsMedian(),
        mitigations.Var(),
        mitigations.Ls(),
        mitigations.LsScale(),
        mitigations.RSparse(),
        mitigations.RSparse64(),
        mitigations.Refit(),
    )
}


def shapes(parts: Iterable[Part], outputs: int, inputs: int, *, untrained: bool = False) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape of everything ``parts`` need for a layer of ``outputs`` x ``inputs`` weights.

    untrained: of what the training of the learned ones begins with.
    """
    found = {}
    for part in parts:
        rank = min(part.rank, outputs, inputs) if isinstance(part, RSparse) else 0
        size = {"O": outputs, "K": inputs, "r": rank}
        needs = part.starts if untrained and part.learned else part.needs
        found.update({name: tuple(size[letter] for letter in letters) for name, letters in needs.items()})
    return found
