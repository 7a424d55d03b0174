"""The tensors that methods need: read from files, and calibrated where no file has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flexnm_rtl.config import ConfigError

from flexnm_model import llm
from flexnm_model.llm import LanguageModel
from flexnm_model.methods import Method, Parameters
from flexnm_model.methods.prepare import STATISTICS, Source, calibrated


def read(methods: Sequence[Method], files: Sequence[str], model: str | None) -> Parameters:
    """The tensors of ``files``, of two of the same name the later file's. model: its name, for ``llm.model_key``.

    Raises ConfigError for bad files, and when a method needs tensors of no file that calibration does not make.
    """
    tensors = Parameters()
    for file in files:
        tensors = tensors.merged(Parameters.load(file, model=llm.model_key(model)))
    known = {*_names(tensors), *STATISTICS}
    for method in methods:
        missing = [name for name in method.needs if name not in known]
        if missing:
            raise ConfigError(
                f"{method} needs {', '.join(missing)}, which no file of parameters has: make one with "
                f"flexnm calibrate --train '{method}' --out FILE and give PARAMETERS=FILE"
            )
    return tensors


def complete(
    tensors: Parameters,
    methods: Sequence[Method],
    model: str | None,
    source: Source,
    language: Callable[[], LanguageModel],
    advance: Callable[[str, str, int], None],
) -> Parameters:
    """``tensors``, with those that calibration on ``source`` makes if a method lacks some.

    language: gives the dense model, only called if need be. advance: see ``accuracy.measure``.
    """
    lacking = {*STATISTICS} - _names(tensors)
    if not any(name in lacking for method in methods for name in method.needs):
        return tensors
    found = calibrated(model, source, language, lambda name, done, total: advance("", f"{name} {done}/{total}", 0))
    # What the files say goes before what is calibrated here.
    return found.merged(tensors)


def _names(tensors: Parameters) -> set[str]:
    return {name for layer in tensors.layers.values() for name in layer}
