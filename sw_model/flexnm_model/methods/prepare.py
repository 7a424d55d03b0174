"""From a model and a text to parameters: cached calibration, resumable training. What ``flexnm calibrate`` does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model import llm, text
from flexnm_model.cache import cache_dir, digest
from flexnm_model.llm import LanguageModel
from flexnm_model.methods import calibrate as calibrating
from flexnm_model.methods import train as training
from flexnm_model.methods.parameters import Parameters
from flexnm_model.methods.refit import fitted_method, refit
from flexnm_model.methods.spec import Method
from flexnm_model.methods.train import Recipe

STATISTICS = ("norm", "mean", "peak")
"""The tensors that calibration gives every layer; all others are trained or fitted."""

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Source:
    """windows of ``window`` tokens of a text (a path, or None: Wikipedia), behind the first ``skip`` windows of it.

    Perplexity is measured at the start of the same text by default, hence skip.
    Raises ConfigError for numbers out of range.
    """

    text: str | None = None
    windows: int = 32
    window: int = 512
    skip: int = 64

    def __post_init__(self) -> None:
        if self.windows < 1 or self.window < 2 or self.skip < 0:
            raise ConfigError(
                f"{self.windows} windows of {self.window} tokens behind {self.skip}: at least 1 of 2 behind 0 is needed"
            )

    def load(self, language: LanguageModel) -> list[torch.Tensor]:
        """The windows, each int64 (1, window), or (1, 1 + window) with BOS. Raises ConfigError for a short text."""
        return text.windows(language.tokenizer, text.load_text(self.text), self.windows, self.window, skip=self.skip)


def calibrated(
    model: str | None,
    source: Source,
    language: Callable[[], LanguageModel] | None = None,
    advance: Advance = lambda name, done, total: None,
) -> Parameters:
    """Statistics of every layer (``methods.calibrate``), from the cache if they were made before.

    model: see ``llm.load``. language: gives the dense model, only called if need be. advance: called with what is done
    ("calibration"), how many windows are done and their total. A BOS does not count. Raises ConfigError for bad input.
    """
    settings = {"model": llm.model_key(model), "text": text.text_key(source.text), **asdict(source)}
    path = cache_dir() / "parameters" / f"{digest(settings, Path(calibrating.__file__).read_bytes())}.safetensors"
    if path.exists():
        return Parameters.load(path, model=settings["model"])
    loaded = language() if language else llm.load(model)
    windows = source.load(loaded)
    counted = iter(range(1, source.windows + 1))
    found = calibrating.calibrate(
        loaded.model,
        windows,
        skip=windows[0].shape[1] - source.window,
        advance=lambda: advance("calibration", next(counted), source.windows),
    )
    made = Parameters(found.layers, {**found.header, **settings})
    made.save(path)
    return made


def check_preparable(method: Method) -> Method:
    """``method`` itself. Raises ConfigError if calibration is all it needs, or it cannot be refitted."""
    if "weight" in method.needs:
        fitted_method(method)
    if not method.learned and "weight" not in method.needs:
        raise ConfigError(f"{method} has nothing to train or fit: add l-pts, ls, ls-scale, r-sparse or refit")
    return method


def prepared(
    model: str | None,
    source: Source,
    method: Method | None = None,
    recipe: Recipe | None = None,
    *,
    start: Parameters | None = None,
    advance: Advance = lambda name, done, total: None,
) -> Parameters:
    """Calibrated parameters, and what ``method`` fits and learns if one is given (of the float layers, if ``@int8``).

    start: parameters known before; calibration and refit fill in what they lack, training starts anew. advance: called
    with "calibration", "refit" or "training, loss …", and how much of how much is done. An interrupted training goes
    on where it was. Raises ConfigError for bad input, in one line.
    """
    language = functools.cache(lambda: llm.load(model))
    known = start or Parameters()
    if not known.layers or any(name not in own for own in known.layers.values() for name in STATISTICS):
        known = calibrated(model, source, language, advance).merged(known)
    if method is None:
        return known
    if "weight" in method.needs and any("weight" not in own for own in known.layers.values()):
        windows = source.load(language())
        known = refit(
            language().model, method, windows, known, advance=lambda done, total: advance("refit", done, total)
        )
    if not method.learned:
        return known
    recipe = recipe or Recipe()
    settings = (llm.model_key(model), text.text_key(source.text), source, str(method), recipe)
    state = cache_dir() / "train" / f"{digest(settings)}.pt"
    result = training.train(
        language().model,
        method,
        source.load(language()),
        known,
        recipe,
        state=state,
        advance=lambda step, loss: advance(f"training, loss {loss:.3f}", step, recipe.steps),
    )
    state.unlink(missing_ok=True)
    return result
