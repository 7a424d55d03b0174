"""Memory traffic of the decode engine: what its formulas and the masks say, and what a simulated job reads.

Everything here is for rows of whole beats: an engine reads, for every tile of outputs and every channel that a token of
the job keeps, the beats of the row that hold outputs of the job.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from flexnm_model.capture import LayerData
from flexnm_model.decode_driver import DecodeDriver, Region
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.quantize import quantize
from flexnm_model.select import magnitude, select
from flexnm_rtl.config import Config, ConfigError, ceil_div

from flexnm_tb.cosim.decoder import SimulatedDecoder

TARGET = 0.95
"""Least part of a job's cycles in which the memory bus has to deliver a beat of weights."""


def traffic_config(n: int, m: int, tokens: int = 1, bus_width: int = 128) -> Config:
    """The engine that the measurements use: N:M, up to ``tokens`` at once, layers of SmolLM2-135M."""
    return Config(n_keep=n, m_group=m, lanes=n, rows=tokens, k_max=2048, bus_width=bus_width, tile_beats=16)


def decode_beats(cfg: Config, rows: float, outputs: int) -> float:
    """Beats of a job that reads ``rows`` channels for each tile: the least cycles it can take."""
    return rows * ceil_div(outputs, cfg.weights_per_bus)


def random_union(share: float, tokens: int) -> float:
    """Part of the channels that at least one of ``tokens`` keeps, were the masks independent: 1 - (1 - share)^T."""
    return 1 - (1 - share) ** tokens


def union_share(mask: torch.Tensor, tokens: int, apart: int = 1) -> float:
    """The same from masks, bool (tokens, K): mean over groups of tokens that follow each other ``apart`` tokens apart.

    Raises ConfigError when there is no such group.
    """
    if tokens < 1 or apart < 1 or len(mask) < tokens * apart:
        raise ConfigError(f"{len(mask)} tokens have no group of {tokens}, {apart} apart: capture more of them")
    whole = mask[: len(mask) // (tokens * apart) * tokens * apart]
    groups = whole.view(-1, tokens, apart, mask.shape[1])
    return float(groups.any(1).to(torch.float64).mean())


def unstructured(values: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Mask of the ``kept`` (tokens,) largest magnitudes of each whole token (tokens, K), the lower channel on a tie."""
    order = torch.argsort(magnitude(values), dim=1, descending=True, stable=True)
    chosen = torch.arange(values.shape[1]).expand(len(values), -1) < kept.unsqueeze(1)
    return torch.zeros_like(chosen).scatter_(1, order, chosen)


def bank_imbalance(mask: torch.Tensor, banks: int, run: int = 1) -> torch.Tensor:
    """Rows the busiest bank is asked for over its fair part, float64 (tokens,), from masks, bool (tokens, K).

    Runs of ``run`` consecutive channels go to the banks in turns. The fair part is the bank's part of the channels;
    where K is a multiple of ``banks * run`` this is maximum over mean.
    """
    channels = torch.arange(mask.shape[1])
    bank = torch.nn.functional.one_hot(channels // run % banks, banks).to(torch.float64)
    counted = mask.to(torch.float64) @ bank
    fair = mask.sum(1, keepdim=True).to(torch.float64) * (bank.sum(0) / mask.shape[1])
    return (counted / fair).amax(1)


@dataclass(frozen=True)
class IntegerLayer:
    """A layer as the engine gets it: x (tokens, K) and w (O, K), integers with the scale of a row each."""

    x: torch.Tensor
    w: torch.Tensor


def integer_layer(layer: LayerData, cfg: Config) -> IntegerLayer:
    """Activations and weights quantised to the engine's widths."""
    return IntegerLayer(quantize(layer.x, cfg.act_width).q, quantize(layer.w, cfg.weight_width).q)


@dataclass(frozen=True)
class JobTraffic:
    """A job as counted. beats: of weights; expected: beats that the masks ask for. span: cycles from the first to the
    last beat; cycles: of the whole job, by the engine's counter. mismatches: sums that differ from the model's.
    """

    tokens: int
    beats: int
    expected: int
    span: int
    cycles: int
    mismatches: int

    @property
    def right(self) -> bool:
        """Whether the sums are the model's and the traffic is what the masks ask for."""
        return self.mismatches == 0 and self.beats == self.expected


class TrafficMeter:
    """A simulated decode engine that runs jobs of one layer after another."""

    def __init__(self, decoder: SimulatedDecoder, cfg: Config) -> None:
        self.decoder = decoder
        self.cfg = cfg
        self.driver = DecodeDriver(decoder, cfg)

    def load(self, w: torch.Tensor) -> Region:
        """Put the weights w (O, K) into the engine's memory."""
        return self.driver.load(w)

    def job(self, x: torch.Tensor, w: torch.Tensor, region: Region, *, dense: bool = False) -> JobTraffic:
        """S(x) w^T, x (T, K), or x w^T with ``dense``, compared with the model. region: what ``load`` gave for w.

        Raises DeviceError when the engine reports an error or reads outside the weights.
        """
        cfg = self.cfg
        done = self.driver.run(x, region, dense=dense)
        reads = self.decoder.reads
        assert reads is not None
        mask = torch.ones_like(x, dtype=torch.bool) if dense else select(x, cfg.n_keep, cfg.m_group)
        sums = (dense_matmul if dense else sparse_matmul)(x, w, cfg)
        return JobTraffic(
            tokens=len(x),
            beats=reads.beats,
            expected=int(decode_beats(cfg, int(mask.any(0).sum()), len(w))),
            span=reads.span,
            cycles=done.counters["cycles"],
            mismatches=int((done.results != sums).sum()) + int(reads.outside) + int(reads.crossed),
        )
