"""N:M pruning of the inputs of a language model's decoder linears, by magnitude."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from flexnm_model.llm import decoder_linears
from flexnm_model.select import check_pattern, prune

PruneFunction = Callable[[torch.Tensor, int, int], torch.Tensor]


class _Pruner:
    """A forward pre-hook; q, k, v (and gate, up) get the same tensor one after the other, so the last one is kept."""

    def __init__(self, n: int, m: int, function: PruneFunction) -> None:
        self.n, self.m = n, m
        self.function = function
        self.source: torch.Tensor | None = None
        self.pruned: torch.Tensor | None = None

    def __call__(self, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        x = args[0]
        # Holding the tensor itself, not its id, keeps another one from taking its place in memory.
        if x is not self.source or self.pruned is None:
            self.source, self.pruned = x, self.function(x, self.n, self.m)
        return (self.pruned, *args[1:])


@contextlib.contextmanager
def pruned(model: torch.nn.Module, n: int, m: int, function: PruneFunction = prune) -> Iterator[None]:
    """Inside the block, the input of every decoder linear (``llm.decoder_linears``) is pruned to ``n:m`` per token.

    function: (activations (…, K), n, m) -> the pruned ones; magnitude pruning by flexnm's rule when left out.
    An input that several of them share is pruned once. The hooks are gone after the block, however it ends.
    Raises ConfigError for a bad pattern, and for NaN in the activations.
    """
    check_pattern(n, m)
    pruner = _Pruner(n, m, function)
    handles = [linear.register_forward_pre_hook(pruner) for _, linear in decoder_linears(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
