"""Jobs of the soak: random tiles of captured layers on the compiled engines, results and counters checked."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from flexnm_model import requantize
from flexnm_model.capture import LayerData
from flexnm_model.compress import pattern_config
from flexnm_model.decode_driver import DecodeDriver
from flexnm_model.driver import LinearDriver
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.quantize import quantize
from flexnm_rtl.config import Config
from flexnm_rtl.presets import preset

from flexnm_tb.cosim.decode_pool import kept_rows
from flexnm_tb.cosim.decoder import MemoryTraffic, SimulatedDecoder
from flexnm_tb.cosim.engine import SimulatedEngine, Traffic
from flexnm_tb.engine_cycles import array_blocks, ideal_cycles
from flexnm_tb.engine_stimuli import random_pattern
from flexnm_tb.fuzz.case import SHARES, check
from flexnm_tb.fuzz.decode_job import DecodeJob
from flexnm_tb.fuzz.linear import adds_up

LINEAR = {
    "n8m16-edge": preset("n8m16-edge"),
    "n2m4": Config(n_keep=2, m_group=4, rows=4, cols=8, lanes=2, k_max=2048),
    "flexible": preset("n32m32-flexible"),
}
DECODE = {
    "n8m16-decode": preset("n8m16-decode"),
    "n2m4-decode": preset("n8m16-decode").replace(n_keep=2, m_group=4, lanes=2, rows=3, bus_width=64, tile_beats=8),
}
MOST_CYCLES = 60_000
"""Ideal cycles of a job at most."""

_MODES = ("sparse", "sparse", "dense", "compressed", "biased", "requantized")
_BASE = 1 << 20


@dataclass(frozen=True)
class Done:
    """A job. vectors: tokens. macs: multiplications the engine did for them. words: results compared."""

    engine: str
    vectors: int
    macs: int
    words: int
    cycles: int


@dataclass(frozen=True)
class Integers:
    """A captured layer in 8 bits: x (T, K), w (O, K), scales of the outputs (O,)."""

    x: torch.Tensor
    w: torch.Tensor
    scale: torch.Tensor


def integers(layers: Mapping[str, LayerData]) -> list[Integers]:
    """Layers as ``quantize`` makes them. Raises ConfigError for NaN and infinity."""
    found = []
    for layer in layers.values():
        w = quantize(layer.w, 8)
        found.append(Integers(quantize(layer.x, 8).q, w.q, w.scale.flatten()))
    return found


class Soak:
    """Engines and layers. A job is decided by its random numbers alone."""

    def __init__(self, layers: Mapping[str, LayerData]) -> None:
        """Builds the engines if need be. Raises ConfigError, VerilatorError."""
        self.layers = integers(layers)
        self.linear = {name: LinearDriver(SimulatedEngine(cfg), cfg) for name, cfg in LINEAR.items()}
        self.decode = {name: DecodeDriver(SimulatedDecoder(cfg), cfg) for name, cfg in DECODE.items()}

    def run(self, rng: random.Random) -> Done:
        """One job. Raises FuzzError and DeviceError."""
        name = rng.choice([*LINEAR, *DECODE])
        layer = rng.choice(self.layers)
        return self._linear(name, layer, rng) if name in LINEAR else self._decode(name, layer, rng)

    def _linear(self, name: str, layer: Integers, rng: random.Random) -> Done:
        driver = self.linear[name]
        cfg, mode = driver.cfg, rng.choice(_MODES)
        dense, compressed = mode == "dense", mode == "compressed"
        t, k, o = _tile(cfg, layer, rng, cfg.tokens_max_dense if dense else cfg.tokens_max, cfg.cols, dense)
        x, w = layer.x[t, k], layer.w[o, k]
        pattern = None if dense else random_pattern(rng, cfg)
        pruned = pattern_config(cfg, pattern)
        sums = (dense_matmul if dense else sparse_matmul)(x, w, pruned)
        r, want = None, sums
        if mode in ("biased", "requantized"):
            peak = float(sums.abs().max()) / 127 or 1.0
            generator = torch.Generator().manual_seed(rng.getrandbits(32))
            bias = torch.randint(-1000, 1000, (w.shape[0],), generator=generator)
            factors = layer.scale[o] / float(layer.scale[o].max()) / peak
            r = requantize.from_scales(factors, bias)
            want = requantize.add_bias(sums, r, cfg.result_width)
            if mode == "requantized":
                want = requantize.requantize(sums, r, cfg.act_width)
        engine = driver.backend
        assert isinstance(engine, SimulatedEngine)
        engine.traffic = Traffic(*_shares(rng)[:3], rng.getrandbits(31))
        scaled, weights = mode == "requantized", driver.prepare(w, r)
        job = driver.run(x, weights, dense=dense, compressed=compressed, requantize=scaled, pattern=pattern)
        what = f"{name} {mode} {tuple(x.shape)} x {w.shape[0]} {pattern or cfg.pattern}"
        check(torch.equal(job.results, want), f"{what}: {int((job.results != want).sum())} results differ")
        kept = cfg.kept(*pattern) if pattern else None
        ideal = ideal_cycles(cfg, x.shape[0], x.shape[1], w.shape[0], dense=dense, n=kept)
        counters, blocks = job.counters, array_blocks(cfg, x.shape[0], x.shape[1], w.shape[0])
        check(counters["busy_cycles"] == ideal, f"{what}: busy_cycles {counters['busy_cycles']}, not {ideal}")
        check(counters["blocks"] == blocks, f"{what}: blocks {counters['blocks']}, not {blocks}")
        check(adds_up(counters), f"{what}: {counters} do not add up")
        channels = x.shape[1] if dense else kept_rows(pruned, x.shape[1])
        return Done(name, x.shape[0], x.shape[0] * channels * w.shape[0], want.numel(), counters["cycles"])

    def _decode(self, name: str, layer: Integers, rng: random.Random) -> Done:
        driver = self.decode[name]
        cfg, dense = driver.cfg, rng.random() < 0.2
        t, k, o = _tile(cfg, layer, rng, cfg.rows, cfg.tile_outputs, dense)
        x, w = layer.x[t, k], layer.w[o, k]
        keep = rng.choice([cfg.n_keep, rng.randint(1, cfg.m_group)])
        region, data = driver.pack(w, _BASE)
        want = DecodeJob(cfg, x, w, keep, dense, region, data)
        engine = driver.backend
        assert isinstance(engine, SimulatedDecoder)
        engine.load(region.base, data)
        latency, most = rng.choice([0, 5, 40, 100]), rng.choice([1, 4, 16, 16])
        engine.traffic = MemoryTraffic(latency, most, *_shares(rng), rng.getrandbits(31))
        job, expected = driver.run(x, region, dense=dense, keep=keep), want.expected
        what = f"{name} {tuple(x.shape)} x {w.shape[0]} N={keep}{' dense' if dense else ''}"
        check(torch.equal(job.results, expected), f"{what}: {int((job.results != expected).sum())} results differ")
        reads, counters = engine.reads, job.counters
        assert reads is not None
        wanted = (len(want.rows), want.beats)
        check((counters["rows"], counters["beats"]) == wanted, f"{what}: counters {counters}, not {wanted}")
        check((reads.bursts, reads.beats) == wanted, f"{what}: {reads}, not {wanted}")
        check(not (reads.outside or reads.crossed or reads.acts_left), f"{what}: {reads}")
        waited = counters["beats"] + counters["wait_memory"] + counters["wait_results"]
        check(waited <= counters["cycles"], f"{what}: {counters} do not add up")
        macs = x.shape[0] * len(want.marked) * w.shape[0]
        return Done(name, x.shape[0], macs, expected.numel(), counters["cycles"])


def _shares(rng: random.Random) -> tuple[int, int, int, int]:
    """Pauses: none in half of the jobs."""
    if rng.random() < 0.5:
        return 0, 0, 0, 0
    return rng.choice(SHARES[:3]), rng.choice(SHARES[:3]), rng.choice(SHARES[:3]), rng.choice(SHARES[:3])


def _tile(
    cfg: Config, layer: Integers, rng: random.Random, most: int, tile: int, dense: bool
) -> tuple[slice, slice, slice]:
    """Tokens, channels, outputs: all channels or a part, of any length; a number of outputs that the budget allows."""
    tokens, (outputs, channels) = rng.randint(1, most), layer.w.shape
    first = rng.randrange(layer.x.shape[0] - tokens + 1)
    count = channels if rng.random() < 0.6 else rng.randint(1, channels)
    begin = rng.randrange(channels - count + 1)
    one = ideal_cycles(cfg, tokens, count, tile, dense=dense) if tile == cfg.cols else count * cfg.tile_beats
    width = min(outputs, rng.randint(1, max(1, MOST_CYCLES // one) * tile))
    o = rng.randrange(outputs - width + 1)
    return slice(first, first + tokens), slice(begin, begin + count), slice(o, o + width)


def top_of(name: str) -> tuple[str, Config]:
    """Kind and configuration of an engine of the soak."""
    return ("linear", LINEAR[name]) if name in LINEAR else ("decode", DECODE[name])
