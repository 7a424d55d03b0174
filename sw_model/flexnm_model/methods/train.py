"""Training of everything learnable: eta of ``l-pts``, a and b of ``ls``, A and B of ``r-sparse``.

The sparse model is brought close to the dense one, end to end: Adam minimises KL(dense || sparse) of the predicted
tokens, a window of text a step. Weights stay as they are, and the selection mask is a constant for gradients.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.cache import digest, replacing
from flexnm_model.llm import decoder_linears, frozen
from flexnm_model.methods.layer import SparseLinear, check_tensors, scaled
from flexnm_model.methods.parameters import Parameters
from flexnm_model.methods.sparsify import Sparsified, sparsify
from flexnm_model.methods.spec import Method


@dataclass(frozen=True)
class Recipe:
    """steps: windows to train on, repeated in a new order when all were used; 0 leaves the initial values.

    rate: of Adam, falling linearly to 0, relative to the size of each tensor. seed: of the order of the windows.
    save_every: steps between two saved states. Raises ConfigError for numbers out of range.
    """

    steps: int = 64
    rate: float = 0.03
    seed: int = 0
    save_every: int = 8

    def __post_init__(self) -> None:
        if self.steps < 0 or self.save_every < 1 or not 0 < self.rate < 1:
            raise ConfigError(f"cannot train {self}: steps >= 0, save_every >= 1 and 0 < rate < 1 are needed")


def initial(model: torch.nn.Module, method: Method, parameters: Parameters) -> Parameters:
    """``parameters`` with the starting values of everything ``method`` learns, for a dense model.

    Raises ConfigError when the calibrated tensors are missing.
    """
    layers: dict[str, Mapping[str, torch.Tensor]] = {}
    for name, linear in decoder_linears(model):
        if not isinstance(linear, torch.nn.Linear):
            raise ConfigError("the model is sparse: train on the dense one, restore() it first")
        known = parameters.of(name)
        check_tensors(name, method, known, linear, untrained=True)
        with torch.no_grad():
            _, weight, stats = scaled(method, linear.weight.detach(), known)
            learned = [step for step in method.steps if step.learned]
            layers[name] = {key: value for step in learned for key, value in step.initial(weight, stats).items()}
    return parameters.merged(Parameters(layers))


def train(
    model: torch.nn.Module,
    method: Method,
    windows: Sequence[torch.Tensor],
    parameters: Parameters,
    recipe: Recipe | None = None,
    *,
    state: Path | None = None,
    advance: Callable[[int, float], None] = lambda step, loss: None,
) -> Parameters:
    """``parameters`` with the tensors that ``method`` learns, trained on windows of token ids, int64 (1, length).

    method: trained in floats, even if it ends in @int8.
    model: dense; it is dense again, and its weights unchanged, afterwards. parameters: calibrated. state: a file from
    which an interrupted training goes on, and which it writes; the result is the same to the last bit. advance: called
    with the steps done and the loss (nats a token) of the last one.
    Raises ConfigError for a method that learns nothing, missing tensors, a state of another training, and NaN.
    """
    recipe = recipe or Recipe()
    method = dataclasses.replace(method, integer=False)
    if not method.learned:
        raise ConfigError(f"{method} has nothing to train: add l-pts, ls, ls-scale or r-sparse")
    if not windows and recipe.steps:
        raise ConfigError("nothing to train on: at least one window is needed")
    begin = initial(model, method, parameters)
    with frozen(model), sparsify(model, method, parameters=begin, train=True) as sparse:
        run = _Training(model, sparse, windows, recipe)
        run.resume(state)
        while run.step < recipe.steps:
            run.advance()
            advance(run.step, run.losses[-1])
            if state is not None and (run.step % recipe.save_every == 0 or run.step == recipe.steps):
                run.save(state)
        layers = run.tensors()
    done = {"method": str(method), **dataclasses.asdict(recipe), "windows": len(windows), "losses": run.losses}
    return begin.merged(Parameters(layers, {"trained": done}))


class _Training:
    def __init__(
        self, model: torch.nn.Module, sparse: Sparsified, windows: Sequence[torch.Tensor], recipe: Recipe
    ) -> None:
        self.model, self.sparse, self.recipe = model, sparse, recipe
        self.windows = [window.to(next(model.parameters()).device) for window in windows]
        self.learned = {
            f"{layer}.{key}": tensor
            for layer, module in sparse.layers.items()
            if isinstance(module, SparseLinear)
            for key, tensor in module.learned.items()
        }
        self.sizes = [_size(parameter.detach()) for parameter in self.learned.values()]
        self.optimizer = torch.optim.Adam([{"params": [p]} for p in self.learned.values()], lr=recipe.rate)
        self.step = 0
        self.losses: list[float] = []
        layers = {name: str(module) for name, module in sparse.layers.items()}
        self.key = digest(str(sparse.method), layers, recipe, [window.tolist() for window in windows], self.sizes)

    def advance(self) -> None:
        """One step, on the next window."""
        window = self.windows[self._order(self.step // len(self.windows))[self.step % len(self.windows)]]
        with torch.no_grad(), self.sparse.paused():
            target = self._log_probabilities(window)
        for group, size in zip(self.optimizer.param_groups, self.sizes, strict=True):
            group["lr"] = self.recipe.rate * size * (1 - self.step / self.recipe.steps)
        self.optimizer.zero_grad()
        found = self._log_probabilities(window)
        loss = torch.nn.functional.kl_div(found, target, reduction="sum", log_target=True) / len(found)
        if not bool(torch.isfinite(loss)):
            raise ConfigError(f"training diverged at step {self.step + 1}: take a smaller rate than {self.recipe.rate}")
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.losses.append(float(loss.detach()))
        self.step += 1

    def _log_probabilities(self, window: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(window, use_cache=False).logits
        return logits.float().flatten(0, -2).log_softmax(-1)

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        order: list[int] = torch.randperm(len(self.windows), generator=generator).tolist()
        return order

    def tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """Layer -> name -> learned tensor, float32."""
        layers: dict[str, dict[str, torch.Tensor]] = {}
        for full, parameter in self.learned.items():
            layer, _, key = full.rpartition(".")
            layers.setdefault(layer, {})[key] = parameter.detach().float().clone()
        return layers

    def save(self, path: Path) -> None:
        """Write the state, all of it or nothing."""
        learned = {name: p.detach() for name, p in self.learned.items()}
        with replacing(path) as out:
            torch.save(
                {"key": self.key, "losses": self.losses, "learned": learned, "adam": self.optimizer.state_dict()}, out
            )

    def resume(self, path: Path | None) -> None:
        """Go on from a state, if there is one."""
        if path is None or not path.exists():
            return
        try:
            stored: dict[str, Any] = torch.load(path, weights_only=True)
            key, self.losses = stored["key"], list(stored["losses"])
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError):
            raise ConfigError(f"{path} is a damaged state of a training: delete it to start again") from None
        if key != self.key:
            raise ConfigError(f"{path} is the state of another training: delete it or name another file")
        with torch.no_grad():
            for name, parameter in self.learned.items():
                parameter.copy_(stored["learned"][name])
        self.optimizer.load_state_dict(stored["adam"])
        self.step = len(self.losses)


def _size(initial: torch.Tensor) -> float:
    """What the rate is relative to: the root mean square of the initial values."""
    # Of those that start at 0, a is relative to 1 and b to outputs of size 1 or more: a tenth of that.
    return float(initial.float().square().mean().sqrt()) or 0.1
