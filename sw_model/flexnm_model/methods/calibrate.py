"""Statistics of the inputs of every decoder linear on a text, in one pass: what scores and mitigations need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.llm import decoder_linears
from flexnm_model.methods.parameters import Parameters


class ChannelStatistics:
    """Sums of a layer's input channels, float64: a hook, and the tensors made of them.

    skip: tokens at the start of a window that do not count (a BOS: its huge activations would rule every maximum).
    """

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.tokens = 0
        self.total = self.squares = self.peak = torch.zeros(())

    def __call__(self, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        """Take in the activations (…, tokens, K) that ``module`` is called with."""
        self.add(args[0].detach()[..., self.skip :, :].flatten(0, -2))

    def add(self, x: torch.Tensor) -> None:
        """Take in activations (tokens, K)."""
        wide = x.double()
        if not self.tokens:
            self.total = self.squares = self.peak = wide.new_zeros(wide.shape[1])
        self.tokens += wide.shape[0]
        self.total = self.total + wide.sum(0)
        self.squares = self.squares + wide.square().sum(0)
        self.peak = torch.maximum(self.peak, wide.abs().amax(0))

    def tensors(self) -> dict[str, torch.Tensor]:
        """norm: ||X_:j||_2, mean: of x_:j, peak: max |x_:j|; float32 (K,)."""
        values = {"norm": self.squares.sqrt(), "mean": self.total / max(1, self.tokens), "peak": self.peak}
        return {name: value.float() for name, value in values.items()}


def calibrate(
    model: torch.nn.Module,
    windows: Sequence[torch.Tensor],
    *,
    skip: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Parameters:
    """One pass of a dense model over windows of token ids, each int64 (1, length).

    skip: tokens at the start of each window that do not count, 1 where windows start with BOS. advance: called after
    each window. Each layer gets norm, mean and peak (``ChannelStatistics.tensors``); the header has the token count.
    Raises ConfigError for no windows, and for a model that computes NaN or infinity.
    """
    if not any(window.shape[-1] > skip for window in windows):
        raise ConfigError("nothing to calibrate on: at least one window of one token is needed")
    linears = dict(decoder_linears(model))
    if not all(isinstance(linear, torch.nn.Linear) for linear in linears.values()):
        raise ConfigError("the model is sparse: calibrate the dense one, restore() it first")
    statistics = {name: ChannelStatistics(skip) for name in linears}
    handles = [linear.register_forward_pre_hook(statistics[name]) for name, linear in linears.items()]
    try:
        with torch.inference_mode():
            # The body without the output head: nobody needs the logits.
            body = getattr(model, "base_model", model)
            for window in windows:
                body(window.to(next(model.parameters()).device), use_cache=False)
                advance()
    finally:
        for handle in handles:
            handle.remove()
    layers = {name: own.tensors() for name, own in statistics.items()}
    if not all(bool(torch.isfinite(tensor).all()) for own in layers.values() for tensor in own.values()):
        raise ConfigError("the model computes NaN or infinity on this text: is its file damaged?")
    return Parameters(layers, {"tokens": max(own.tokens for own in statistics.values()), "calibrated": len(windows)})
