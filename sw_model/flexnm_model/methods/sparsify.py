"""Applying a method to a language model in place, and taking it back."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
from collections.abc import Iterator, Sequence
from types import TracebackType

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.integer_linear import Replacement
from flexnm_model.llm import decoder_linears
from flexnm_model.methods.integer import integer_layer
from flexnm_model.methods.layer import Memo, SparseLinear
from flexnm_model.methods.parameters import Parameters
from flexnm_model.methods.patterns import Pattern
from flexnm_model.methods.spec import Method


class Sparsified:
    """A model with a method applied; ``with`` it, or call ``restore``, to have the dense model again.

    layers: the modules in place of the linears, by name (``llm.decoder_linears``).
    """

    def __init__(
        self, replacement: Replacement, method: Method, layers: dict[str, torch.nn.Module], memo: Memo
    ) -> None:
        self.method = method
        self.layers = layers
        self._replacement: Replacement | None = replacement
        self._memo = memo

    def restore(self) -> None:
        """Give the model its own linears again; may be called more than once."""
        if self._replacement is not None:
            self._replacement.restore()
        self._replacement = None
        self._memo.clear()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside the block the model is dense. Raises ConfigError once it was restored."""
        replacement = self._replacement
        if replacement is None:
            raise ConfigError("the model was restored: nothing is left to pause")
        replacement.restore()
        self._memo.clear()
        try:
            yield
        finally:
            replacement.place()

    def __enter__(self) -> Sparsified:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()


def sparsify(
    model: torch.nn.Module,
    method_or_pattern: Method | Pattern | str,
    *,
    score: str = "act",
    mitigations: Sequence[str] = (),
    layers: Sequence[str] | str | None = None,
    parameters: Parameters | None = None,
    integer: bool = False,
    train: bool = False,
) -> Sparsified:
    """Apply a method to the decoder linears of a causal language model, in place.

    method_or_pattern: a method (its text, such as "8:16+clact+var", or a ``Method``), or a pattern that ``score``,
    ``mitigations`` and ``integer`` make a method of. layers: names or globs such as "*.down_proj"; None: all.
    parameters: what calibration and training found. train: learned tensors require gradients (``methods.train``).
    An input that several linears share is pruned once if they select alike.
    Raises ConfigError, and leaves the model as it was, for a bad method, a missing tensor (and says which command
    makes it), a glob that matches nothing, and a model that is sparse already.
    """
    method = _method(method_or_pattern, score, mitigations, integer)
    linears = dict(decoder_linears(model))
    for name, linear in linears.items():
        if not isinstance(linear, torch.nn.Linear):
            raise ConfigError(f"{name} is a {type(linear).__name__}, no nn.Linear: restore() the model if it is sparse")
    names = _chosen(list(linears), layers)
    patterns = method.pattern.layers(names)
    known = parameters or Parameters()
    memo = Memo()
    made: dict[str, torch.nn.Module] = {}

    def build(name: str, linear: torch.nn.Linear) -> torch.nn.Module:
        if name not in patterns:
            return linear
        own = dataclasses.replace(method, pattern=patterns[name])
        previous = made[next(reversed(made))] if made else None
        if own.integer:
            made[name] = integer_layer(name, linear, own, known)
        else:
            made[name] = _share(SparseLinear(linear, own, known.of(name), train=train, memo=memo, name=name), previous)
        return made[name]

    return Sparsified(Replacement(model, build), method, made, memo)


def _method(given: Method | Pattern | str, score: str, mitigations: Sequence[str], integer: bool) -> Method:
    method = Method.parse(given) if isinstance(given, str) else given
    if isinstance(method, Pattern):
        method = Method(method)
    if score == "act" and not mitigations and not integer:
        return method
    if method != Method(method.pattern):
        raise ConfigError(f"{method} is a whole method: give score, mitigations and integer in it or beside it")
    return Method(method.pattern, score, tuple(mitigations), integer)


def _chosen(names: list[str], layers: Sequence[str] | str | None) -> list[str]:
    if not names:
        raise ConfigError("the model has no q/k/v/o/gate/up/down projections: use a Llama-like model")
    if layers is None:
        return names
    globs = [layers] if isinstance(layers, str) else list(layers)
    for glob in globs:
        if not fnmatch.filter(names, glob):
            raise ConfigError(f"no layer is called {glob}: names are like {names[-1]}, and * stands for anything")
    return [name for name in names if any(fnmatch.fnmatchcase(name, glob) for glob in globs)]


def _share(layer: SparseLinear, previous: torch.nn.Module | None) -> SparseLinear:
    """``layer`` with the stage of the layer before it, if both prune alike: equal inputs are then pruned once."""
    if isinstance(previous, SparseLinear) and layer.stage.same(previous.stage):
        layer.stage = previous.stage
    return layer
