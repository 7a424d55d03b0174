"""One sparse linear layer with scores and mitigations; X tokens x K, W O x K, own bias b0.

    1 scaling     x' = x / s, W' = W s
    2 shift       z = x' - eta - eta_t            eta (K,) for all tokens, eta_t one number a token, taken of x' - eta
    3 selection   S(z) keeps the largest |z_j| f_j of each block
    4 product     y = S(z) W'^T                   refit: another W'
    5 gain        y *= nu_t
    6 shift back  y += eta W'^T + eta_t rowsum(W')
    7 residual    y += (z - S(z)) B^T A^T
    8 output      y = y (1 + a) + b
    9 bias        y += b0

A step is skipped when the method has no part for it. Everything that depends on weights alone is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.methods.mitigations import Mitigation
from flexnm_model.methods.patterns import Pattern
from flexnm_model.methods.registry import SCORES, shapes
from flexnm_model.methods.spec import Method

Tensors = Mapping[str, torch.Tensor]
_OF_INPUTS = ("norm", "mean", "peak")


@dataclass(frozen=True)
class Pruned:
    """What steps 1 to 3 leave. kept: S(z) (…, K). token: eta_t, gain: nu_t (…, 1). dropped: z - S(z), if wanted."""

    kept: torch.Tensor
    token: torch.Tensor | None = None
    gain: torch.Tensor | None = None
    dropped: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Stage:
    """Steps 1 to 3 and the gain of step 5: all that depends on the input and not on the weights.

    scale, shift, factor: (K,) or None.
    """

    pattern: Pattern
    steps: tuple[Mitigation, ...] = ()
    scale: torch.Tensor | None = None
    shift: torch.Tensor | None = None
    factor: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> Pruned:
        """x: (…, K). Raises ConfigError for NaN."""
        z = x if self.scale is None else x / self.scale
        z = z if self.shift is None else z - self.shift
        token = _first(step.token_shift(z) for step in self.steps)
        z = z if token is None else z - token
        kept = self.pattern.prune(z, self.factor)
        gain = _first(step.gain(z, kept) for step in self.steps)
        wanted = any(step.slot == "residual" for step in self.steps)
        return Pruned(kept, token, gain, z - kept if wanted else None)

    def same(self, other: Stage) -> bool:
        """Whether both do the same to every input, now and later: no tensor of theirs is being learned."""
        if (self.pattern, self.steps) != (other.pattern, other.steps):
            return False
        pairs = [(self.scale, other.scale), (self.shift, other.shift), (self.factor, other.factor)]
        return all(_equal(a, b) for a, b in pairs)


class Memo:
    """The last result of a stage: q, k, v (and gate, up) get the same tensor one after the other.

    A tensor changed in place between two calls is noticed, except in inference mode, where PyTorch does not count.
    """

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._x: torch.Tensor | None = None
        self._seen = (0, False)
        self._result: Pruned | None = None

    def __call__(self, stage: Stage, x: torch.Tensor) -> Pruned:
        """``stage(x)``, computed once while neither changes."""
        if stage.shift is not None and stage.shift.requires_grad:
            return stage(x)
        seen = (0 if x.is_inference() else x._version, torch.is_grad_enabled())
        # Holding the tensor itself, not its id, keeps another one from taking its place in memory.
        if stage is not self._stage or x is not self._x or seen != self._seen or self._result is None:
            self._stage, self._x, self._seen, self._result = stage, x, seen, stage(x)
        return self._result

    def clear(self) -> None:
        """Forget it, and the memory it takes."""
        self._stage = self._x = self._result = None


class SparseLinear(torch.nn.Module):
    """A linear layer under ``method``; see the top of the file for what it computes.

    linear: the layer it replaces; its weights are copied only if the method changes them. method: its pattern is that
    of this layer (no plan). tensors: the layer's parameters, at least those of ``method.needs``. train: the learned
    ones (``learned``: eta, a, b, A, B) require gradients; else what depends on them is computed once. memo: shared by
    the layers of a model. name: for messages. Arithmetic is in the type of the weights, factors in float32 at least.
    Raises ConfigError for a missing tensor, or one of another shape.
    """

    def __init__(
        self,
        linear: torch.nn.Linear,
        method: Method,
        tensors: Tensors | None = None,
        *,
        train: bool = False,
        memo: Memo | None = None,
        name: str = "layer",
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = linear.weight.shape
        known = tensors or {}
        check_tensors(name, method, known, linear)
        weight = linear.weight.detach()
        with torch.no_grad():
            scale, changed, stats = scaled(method, weight, known)
            factor = SCORES[method.score].factor(changed, stats)
            for step in method.steps:
                changed = step.weight(changed, stats)
            changed = method.pattern.weight(changed).to(weight)
        self.weight = linear.weight if changed is weight else torch.nn.Parameter(changed, requires_grad=False)
        self.bias = linear.bias
        own = {key: torch.nn.Parameter(known[key].to(weight).clone(), train) for key in method.learned}
        self.learned = torch.nn.ParameterDict(own)
        shift = _first(step.shift({**stats, **own}) for step in method.steps)
        shift = None if shift is None else shift.to(weight)
        wide = torch.promote_types(weight.dtype, torch.float32)
        factor = None if factor is None else factor.to(weight.device, wide)
        self.stage = Stage(method.pattern, method.steps, scale, shift, factor)
        self.steps = method.steps
        self.memo = memo or Memo()
        self._constant = None if train or shift is None else (changed.double() @ shift.double()).to(weight)
        tokens = any(step.slot == "token shift" for step in method.steps)
        self._rowsum = changed.double().sum(1).to(weight) if tokens else None
        self._plain = not any(step.slot not in ("scale", "weight") for step in method.steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (…, K) -> (…, O). Raises ConfigError for NaN."""
        pruned = self.memo(self.stage, x)
        if self._plain:
            return torch.nn.functional.linear(pruned.kept, self.weight, self.bias)
        y = torch.nn.functional.linear(pruned.kept, self.weight)
        if pruned.gain is not None:
            y = y * pruned.gain
        if self.stage.shift is not None:
            constant = self._constant
            y = y + (torch.nn.functional.linear(self.stage.shift, self.weight) if constant is None else constant)
        if pruned.token is not None and self._rowsum is not None:
            y = y + pruned.token * self._rowsum
        learned = dict(self.learned.items())
        for step in self.steps:
            if pruned.dropped is not None and (part := step.residual(pruned.dropped, learned)) is not None:
                y = y + part
        for step in self.steps:
            y = step.output(y, learned)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        names = "+".join([str(self.stage.pattern), *(step.name for step in self.steps)])
        return f"in_features={self.in_features}, out_features={self.out_features}, {names}"


def scaled(
    method: Method, weight: torch.Tensor, tensors: Tensors
) -> tuple[torch.Tensor | None, torch.Tensor, dict[str, torch.Tensor]]:
    """s (K,) or None, the weights ``W s``, and the tensors with the statistics of ``x / s`` in place of those of x."""
    scale = _first(step.scale(weight, tensors) for step in method.steps)
    if scale is None:
        return None, weight, dict(tensors)
    # As it will be applied, so that x / s and W s cancel as well as the type allows.
    scale = scale.to(weight.device, weight.dtype)
    divided = {key: tensor / scale.to(tensor) if key in _OF_INPUTS else tensor for key, tensor in tensors.items()}
    return scale, weight * scale, divided


def check_tensors(
    name: str, method: Method, tensors: Tensors, linear: torch.nn.Linear, *, untrained: bool = False
) -> None:
    """Raise ConfigError unless the layer has every tensor that ``method`` needs, of the right shape.

    untrained: that its training needs.
    """
    for key, shape in shapes(method.parts, *linear.weight.shape, untrained=untrained).items():
        if key not in tensors:
            how = f" --train '{method}'" if key in (*method.learned, "weight") else ""
            raise ConfigError(
                f"{method} needs {key!r} of {name}, which the parameters lack: make it with flexnm calibrate{how}"
            )
        if tuple(tensors[key].shape) != shape:
            raise ConfigError(
                f"{key!r} of {name} has shape {tuple(tensors[key].shape)}, {method} needs {shape}: "
                "the parameters are of another model or method"
            )


def _first(candidates: Iterable[torch.Tensor | None]) -> torch.Tensor | None:
    """The tensor among ``candidates``, if any: a method has one part a step at most."""
    return next((tensor for tensor in candidates if tensor is not None), None)


def _equal(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a is b or (not (a.requires_grad or b.requires_grad) and torch.equal(a, b))
