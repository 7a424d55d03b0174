"""Driver of the decode engine, and how its weights lie in memory.

Tiles of ``tile_outputs`` outputs, in each the K channels, in each a row of ``row_bytes``: weight o of the tile takes
``memory_weight_width`` bits from bit ``o * memory_weight_width`` of the row on, little endian, zeros where the last
tile has no outputs. The row of channel k in tile t starts at ``base + (t * K + k) * row_bytes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from flexnm_rtl.config import Config, ConfigError, ceil_div
from flexnm_rtl.registers import DECODE, DECODE_IDENTIFICATION

from flexnm_model import packing
from flexnm_model.driver import JobResult, RegisterBus, RegisterDriver
from flexnm_model.packing import Bytes


def pack_memory(w: torch.Tensor, cfg: Config) -> Bytes:
    """The weight region of a layer: w (O, K), signed integers of ``weight_width`` bits -> uint8 (bytes,).

    Raises ConfigError for another shape or numbers out of range.
    """
    packing.check_matrix("weights", w, cfg.weight_width)
    missing = -w.shape[0] % cfg.tile_outputs
    padded = torch.nn.functional.pad(w.to(torch.int32), (0, 0, 0, missing))
    rows = padded.view(-1, cfg.tile_outputs, w.shape[1]).transpose(1, 2).numpy()
    return packing.slots(rows, cfg.memory_weight_width, cfg.row_bytes).reshape(-1)


def pack_tokens(x: torch.Tensor, cfg: Config) -> Bytes:
    """Activation packet of a decode job: x (T, K), T up to ``rows``, -> uint8 (bytes,): blocks, in each ``rows`` slots.

    Raises ConfigError for another shape, too many tokens, or numbers out of range.
    """
    packing.check_matrix("activations", x, cfg.act_width)
    if x.shape[0] > cfg.rows:
        raise ConfigError(f"{x.shape[0]} tokens do not fit the decode engine: it takes up to {cfg.rows}")
    blocks = packing.blocks_of(x, cfg.rows, cfg.m_group)
    return packing.slots(blocks, cfg.act_width, cfg.dense_slot_bytes).reshape(-1)


class DecodeBackend(RegisterBus, Protocol):
    """What ``DecodeDriver`` needs of an engine and its memory."""

    def load(self, base: int, data: Bytes) -> None:
        """Put ``data`` into the engine's memory at address ``base``."""

    def transfer(self, acts: Bytes, result_bytes: int) -> Bytes:
        """Send the packet, ended by TLAST, and return the result packet of up to ``result_bytes``."""


@dataclass(frozen=True)
class Region:
    """A layer's weights in memory: base address, bytes, outputs O, channels K."""

    base: int
    size: int
    outputs: int
    channels: int


class DecodeDriver(RegisterDriver):
    """Computes layers for a few tokens. ``cfg``: what the engine was built with; the engine is asked to confirm."""

    def __init__(self, backend: DecodeBackend, cfg: Config) -> None:
        """Raises DeviceError when the engine is no decode engine or has another configuration."""
        super().__init__(backend, DECODE)
        self.backend = backend
        self.cfg = cfg
        memory = {
            "bus_bytes": cfg.bus_width // 8, "tile_beats": cfg.tile_beats, "weight_width": cfg.memory_weight_width,
            "results": cfg.decode_result_ports,
        }  # fmt: skip
        pattern = {"n": cfg.n_keep, "m": cfg.m_group, "tokens": cfg.rows - 1}
        widths = {"act": cfg.act_width, "weight": cfg.weight_width, "result": cfg.result_width}
        self._confirm(
            DECODE_IDENTIFICATION,
            {"pattern": pattern, "memory": memory, "widths": widths, "k_max": {"k_max": cfg.k_max}},
        )

    def pack(self, w: torch.Tensor, base: int = 0) -> tuple[Region, Bytes]:
        """A layer's weights as they stand in memory from ``base`` on: w (O, K), signed integers.

        Raises ConfigError when they do not fit the engine, or ``base`` is not a multiple of ``row_bytes``.
        """
        data = pack_memory(w, self.cfg)
        if w.shape[1] > self.cfg.k_max:
            raise ConfigError(
                f"K={w.shape[1]} exceeds the engine's K_MAX={self.cfg.k_max}: build one with a larger one"
            )
        if base < 0 or base % self.cfg.row_bytes:
            raise ConfigError(f"weights at {base:#x} are not aligned: a multiple of {self.cfg.row_bytes} is needed")
        if base + len(data) >= 1 << self.cfg.address_width:
            raise ConfigError(
                f"weights of {len(data)} bytes at {base:#x} need more than {self.cfg.address_width} address bits"
            )
        return Region(base, len(data), w.shape[0], w.shape[1]), data

    def load(self, w: torch.Tensor, base: int = 0) -> Region:
        """Pack the weights of a layer and put them into memory at ``base``; see ``pack``."""
        region, data = self.pack(w, base)
        self.backend.load(base, data)
        return region

    def run(self, x: torch.Tensor, region: Region, *, dense: bool = False, keep: int | None = None) -> JobResult:
        """S(x) w^T of the layer loaded last: x (T, K), T up to ``rows``, signed integers.

        keep: N of this job, ``n_keep`` when left out. dense: no pruning.
        Raises ConfigError for operands that do not fit and DeviceError when the engine reports an error.
        """
        cfg = self.cfg
        if x.dim() != 2 or x.shape[1] != region.channels:
            raise ConfigError(f"activations {tuple(x.shape)} do not fit weights of K={region.channels}")
        n = cfg.n_keep if keep is None else keep
        if not 1 <= n <= cfg.m_group:
            raise ConfigError(f"N={n} is out of range: it must be a whole number from 1 to M={cfg.m_group}")
        acts = pack_tokens(x, cfg)
        limit = region.base + region.size
        self._start(
            tokens=x.shape[0], channels=region.channels, outputs=region.outputs, mode=int(dense), keep=n,
            base_low=region.base & 0xFFFFFFFF, base_high=region.base >> 32, limit_low=limit & 0xFFFFFFFF,
            limit_high=limit >> 32,
        )  # fmt: skip
        lanes = cfg.weights_per_bus
        expected = ceil_div(region.outputs, lanes) * lanes * x.shape[0] * cfg.result_width // 8
        packet = self.backend.transfer(acts, expected)
        self._check_errors()
        sums = packing.unpack_results(
            packet, x.shape[0], region.outputs, cfg.replace(cols=lanes, weights_per_beat=0, results_per_beat=0)
        )
        return JobResult(sums, self.counters())


def union_rows(mask: torch.Tensor) -> int:
    """Rows a tile reads for tokens with these masks: bool (T, K) -> channels that any of them keeps."""
    return int(np.count_nonzero(mask.any(0).numpy()))
