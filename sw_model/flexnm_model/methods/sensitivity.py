"""How much a language model loses when the input of some layers is pruned, for every N at once.

To second order, an error e_t in the output of layers that read x_t changes the distribution of the predicted tokens by

    KL = 1/2 sum over t of E[(g_t . e_t)^2]

with g_t the gradient of -log p(y), y drawn from the model's own prediction (the Fisher information). What pruning drops
of x_t therefore counts with the gradient with respect to x_t itself, which one backward pass gives for all layers:

    g_t . e_t = sum over dropped channels j of (dKL/dx)_tj x_tj

The sum over a token is taken in two ways: exact, which is noisy, and block by block as if blocks were independent,
which they are not. Their geometric mean gives better plans than either.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.cache import cache_dir, digest, replacing
from flexnm_model.llm import decoder_linears, frozen
from flexnm_model.methods.patterns import Blocks
from flexnm_model.methods.plan import shared_inputs
from flexnm_model.select import check_pattern, pad_channels

Group = tuple[str, ...]
Curves = Mapping[Group, torch.Tensor]


@dataclass(frozen=True)
class Sensitivity:
    """losses: layers that share an input -> nats a predicted token lost when they keep 1, 2, … M of M channels."""

    losses: Mapping[Group, tuple[float, ...]]
    m: int
    windows: int

    def loss(self, layers: Mapping[str, Blocks]) -> float:
        """Predicted loss, nats a predicted token, of these patterns: the sum over the groups, each as if alone."""
        return sum(losses[layers[group[0]].n - 1] for group, losses in self.losses.items())


def measure(
    model: torch.nn.Module,
    windows: Sequence[torch.Tensor],
    m: int,
    *,
    skip: int = 0,
    seed: int = 0,
    key: str | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Sensitivity:
    """Sensitivity of a dense model on windows of token ids, each int64 (1, length), to blocks of ``m``.

    skip: tokens at the start of a window that do not count (a BOS). seed: of the drawn tokens. key: what model and
    windows are (``cache.digest``); finished windows are then kept in the cache. advance: called with the number of
    windows done. Costs one backward pass a window.
    Raises ConfigError for no windows, a bad M, a sparse model and NaN.
    """
    check_pattern(1, m)
    if not windows:
        raise ConfigError("nothing to measure on: at least one window is needed")
    store = _Store(None if key is None else digest(key, m, skip, seed, _CODE))
    total: dict[Group, torch.Tensor] = {}
    with _frozen_inputs(model) as inputs:
        for index, window in enumerate(windows):
            curves = store.get(index)
            if curves is None:
                gradients = _gradients(model, window, inputs, seed + index)
                curves = {group: _curves(x[skip:], g[skip:], m) for group, (x, g) in gradients.items()}
                store.add(index, curves)
            total = {group: total.get(group, 0) + curve for group, curve in curves.items()}
            advance(index + 1)
    losses = {group: (total[group][0] * total[group][1]).sqrt() / (2 * len(windows)) for group in total}
    return Sensitivity({group: tuple(loss.tolist()) for group, loss in losses.items()}, m, len(windows))


def _curves(x: torch.Tensor, gradient: torch.Tensor, m: int) -> torch.Tensor:
    """Mean over tokens of the squared loss of keeping 1, 2, … m: (2, m), the exact sums and those block by block.

    x, gradient: (tokens, K), any finite numbers. Channels are dropped from the smallest |x| of a block up.
    """
    blocks = pad_channels(x, m).reshape(len(x), -1, m)
    products = pad_channels(x * gradient, m).reshape(len(x), -1, m).double()
    order = blocks.abs().argsort(dim=-1, descending=True, stable=True)
    dropped = products.gather(-1, order).flip(-1).cumsum(-1).flip(-1)
    exact, apart = dropped.sum(1).square().mean(0), dropped.square().sum(1).mean(0)
    # Entry n is what is lost when channels n, n + 1, … of the order are dropped, n kept; with all kept nothing is.
    return torch.nn.functional.pad(torch.stack([exact, apart])[:, 1:], (0, 1))


def _gradients(
    model: torch.nn.Module, window: torch.Tensor, inputs: dict[Group, torch.Tensor], seed: int
) -> dict[Group, tuple[torch.Tensor, torch.Tensor]]:
    """Input and its gradient of each group, (tokens, K), of -log p of tokens drawn from the model's own prediction."""
    inputs.clear()
    logits = model(window, use_cache=False).logits[0].float()
    _check_finite(logits)
    drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=torch.Generator().manual_seed(seed))
    torch.nn.functional.cross_entropy(logits, drawn[:, 0], reduction="sum").backward()  # type: ignore[no-untyped-call]
    found = {}
    for group, x in inputs.items():
        assert x.grad is not None
        _check_finite(x.grad)
        found[group] = (x.detach()[0], x.grad[0])
    inputs.clear()
    return found


def _check_finite(values: torch.Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise ConfigError("the model computes NaN or infinity on this text: is its file damaged?")


@contextlib.contextmanager
def _frozen_inputs(model: torch.nn.Module) -> Iterator[dict[Group, torch.Tensor]]:
    """Inside the block weights need no gradients, and a forward pass leaves every group's input in the dictionary."""
    linears = dict(decoder_linears(model))
    if not linears or not all(isinstance(linear, torch.nn.Linear) for linear in linears.values()):
        raise ConfigError("the model is sparse or has no projections: measure the dense one, restore() it first")
    inputs: dict[Group, torch.Tensor] = {}

    def tap(group: Group) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            args[0].retain_grad()
            inputs[group] = args[0]

        return hook

    embedding: torch.nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    handles = [linears[group[0]].register_forward_pre_hook(tap(group)) for group in shared_inputs(linears)]
    handles.append(embedding.register_forward_hook(lambda module, args, out: out.detach().requires_grad_()))
    try:
        with frozen(model), torch.enable_grad():
            yield inputs
    finally:
        for handle in handles:
            handle.remove()


class _Store:
    """Curves of finished windows, one small file each; kept nowhere without a key."""

    def __init__(self, key: str | None) -> None:
        self.folder = None if key is None else cache_dir() / "sensitivity" / key

    def get(self, index: int) -> Curves | None:
        """The curves of a window, None if they are not there; a file that cannot be read is only lost time."""
        if self.folder is not None:
            with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                stored = json.loads((self.folder / f"{index}.json").read_text())
                return {tuple(group.split()): torch.tensor(rows, dtype=torch.float64) for group, rows in stored.items()}
        return None

    def add(self, index: int, curves: Curves) -> None:
        """Keep the curves of a window."""
        if self.folder is not None:
            with replacing(self.folder / f"{index}.json") as out:
                out.write_text(json.dumps({" ".join(group): curve.tolist() for group, curve in curves.items()}))


# Results of other code are other results.
_CODE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:20]
