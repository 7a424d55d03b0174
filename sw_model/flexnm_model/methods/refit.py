"""The weights of the mitigation ``refit``: ridge regression of dense outputs onto what pruning leaves of the inputs.

A layer multiplies p = nu S(z) + eta + eta_t where the dense one multiplies z (both T x K, ``methods.layer``). With
tokens weighted by 1 / mean(z_t^2), so that a few huge ones do not decide, its new weights minimise

    sum over t of |p_t W'^T - z_t W^T|^2 + r |W' - W|^2        r = ridge * mean diagonal of p^T p
    W' = W + W C,  C^T = (p^T p + r)^-1 p^T (z - p)

Layers are refitted one after the other, each on what the sparse and already refitted layers before it give.

The gain is one of the calibration text: fitted on 20 000 tokens of Wikipedia, SmolLM2 under a plan gains 2 to 3 % of
perplexity there and loses 4 to 5 % on c4. Fit on text like that to be read.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.llm import decoder_linears
from flexnm_model.methods.layer import SparseLinear, Stage
from flexnm_model.methods.parameters import Parameters
from flexnm_model.methods.passes import BlockPasses
from flexnm_model.methods.plan import shared_inputs
from flexnm_model.methods.sparsify import Sparsified, sparsify
from flexnm_model.methods.spec import Method

LAYERS = ("*.q_proj", "*.k_proj", "*.v_proj", "*.gate_proj", "*.up_proj")
"""Layers that gain: those that read the normalised stream. With o and down refitted too, SmolLM2 gets worse."""

RIDGE = 0.2


def fitted_method(method: Method) -> Method:
    """The method to fit to: without refit itself, @int8, and what is trained afterwards.

    Raises ConfigError for methods without refit, and with l-pts: its shift is not known before training.
    """
    if "refit" not in method.mitigations:
        raise ConfigError(f"{method} has no refit: add it, as in {method.pattern}+refit")
    if "l-pts" in method.mitigations:
        raise ConfigError(f"{method} cannot be refitted, l-pts is learned later: take s-pts or d-pts instead")
    kept = tuple(step.name for step in method.steps if not step.learned and step.name != "refit")
    return dataclasses.replace(method, mitigations=kept, integer=False)


@torch.no_grad()
def refit(
    model: torch.nn.Module,
    method: Method,
    windows: Sequence[torch.Tensor],
    parameters: Parameters,
    *,
    layers: Sequence[str] = LAYERS,
    ridge: float = RIDGE,
    skip: int = 1,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Parameters:
    """``parameters`` with the tensor ``weight`` (float16, (O, K), scaled ones with ``scaling``) of every layer.

    model: dense; dense again, and unchanged, afterwards. windows: token ids, each int64 (1, length), all of one length;
    many more tokens than K are needed, 16384 or more. parameters: what else ``method`` needs. layers: names or globs of
    those to refit; the others' ``weight`` is their own. skip: tokens at the start of a window that do not count.
    advance: called with how many decoder layers of how many are done. About 3 forward passes over the text.
    Raises ConfigError for a method that cannot be refitted, bad numbers, missing tensors, and NaN.
    """
    plain = fitted_method(method)
    if not 0 < ridge < math.inf:
        raise ConfigError(f"ridge {ridge} is out of range: a positive number is needed, such as {RIDGE}")
    if len({window.shape for window in windows}) != 1 or windows[0].shape[1] <= skip:
        raise ConfigError(f"refit needs at least one window, all of one length above {skip} tokens")
    own = {name: linear for name, linear in decoder_linears(model) if isinstance(linear, torch.nn.Linear)}
    with sparsify(model, plain, parameters=parameters) as sparse:
        weights = {name: module.get_parameter("weight").detach() for name, module in sparse.layers.items()}
        passes = BlockPasses(model, windows)
        for index in range(len(passes.blocks)):
            for group in shared_inputs(name for name in own if name.startswith(f"layers.{index}.")):
                chosen = [name for name in group if any(fnmatch.fnmatchcase(name, glob) for glob in layers)]
                fitted = _fitted(passes, index, sparse, chosen, ridge, skip)
                for name, weight in fitted.items():
                    tensors = {**parameters.of(name), "weight": weight}
                    passes.put(index, name, _layer(own[name], tensors, sparse.layers[name], plain))
                weights |= fitted
            passes.go_through(index)
            advance(index + 1, len(passes.blocks))
    done = {"method": str(method), "windows": len(windows), "ridge": ridge, "layers": list(layers)}
    made = {name: {"weight": weight.half()} for name, weight in weights.items()}
    return parameters.merged(Parameters(made, {"refitted": done}))


def _fitted(
    passes: BlockPasses, index: int, sparse: Sparsified, names: Sequence[str], ridge: float, skip: int
) -> dict[str, torch.Tensor]:
    """New weights of layers ``names`` of decoder layer ``index``, which read the same input."""
    changes: dict[Stage, torch.Tensor] = {}
    weights = {}
    for name in names:
        layer = sparse.layers[name]
        assert isinstance(layer, SparseLinear)
        if layer.stage not in changes:
            changes[layer.stage] = _change(passes, index, layer, ridge, skip)
        weights[name] = layer.weight + layer.weight @ changes[layer.stage].to(layer.weight)
    return weights


def _change(passes: BlockPasses, index: int, layer: SparseLinear, ridge: float, skip: int) -> torch.Tensor:
    """C (K, K), float64, for the layers of the stage of ``layer``."""
    k = layer.in_features
    squares, misses = torch.zeros(k, k, dtype=torch.float64), torch.zeros(k, k, dtype=torch.float64)

    def gather(x: torch.Tensor) -> None:
        z, p = (part[..., skip:, :].flatten(0, -2).float() for part in operands(layer.stage, x))
        size = z.square().mean(-1, keepdim=True).sqrt()
        z, p = z / size.where(size > 0, 1), p / size.where(size > 0, 1)
        squares.add_(p.T @ p)
        misses.add_(p.T @ (z - p))

    passes.go_to(index, layer, gather)
    # All tokens may be zero.
    squares.diagonal().add_(ridge * float(squares.diagonal().mean()) or 1.0)
    change: torch.Tensor = torch.linalg.solve(squares, misses)
    return change.T


def operands(stage: Stage, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the dense and the sparse layer multiply with their weights, z and p (…, K), for an input x (…, K)."""
    pruned = stage(x)
    z = x if stage.scale is None else x / stage.scale
    p = pruned.kept if pruned.gain is None else pruned.kept * pruned.gain
    for shift in (stage.shift, pruned.token):
        p = p if shift is None else p + shift
    return z, p


def _layer(
    linear: torch.nn.Linear, tensors: Mapping[str, torch.Tensor], sparse: torch.nn.Module, plain: Method
) -> SparseLinear:
    """``sparse`` with the weights of ``tensors``."""
    assert isinstance(sparse, SparseLinear)
    method = dataclasses.replace(plain, pattern=sparse.stage.pattern, mitigations=(*plain.mitigations, "refit"))
    layer = SparseLinear(linear, method, tensors, memo=sparse.memo)
    layer.stage = sparse.stage
    return layer
