"""A job of the decode engine, what it must read and what must come of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from flexnm_model import packing
from flexnm_model.decode_driver import Region
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.packing import Bytes
from flexnm_model.select import select
from flexnm_rtl.config import Config, ConfigError, ceil_div

from flexnm_tb.fuzz.case import check


@dataclass(frozen=True)
class DecodeJob:
    """x (T, K), w (O, K), N of the job, where its weights are."""

    cfg: Config
    x: torch.Tensor
    w: torch.Tensor
    keep: int
    dense: bool
    region: Region
    data: Bytes

    @property
    def expected(self) -> torch.Tensor:
        """Sums, int64 (T, O)."""
        if self.dense:
            return dense_matmul(self.x, self.w, self.cfg)
        return sparse_matmul(self.x, self.w, self.cfg.replace(n_keep=self.keep, lanes=1))

    @property
    def marked(self) -> list[int]:
        """Channels whose weights are read."""
        if self.dense:
            return list(range(self.x.shape[1]))
        return select(self.x, self.keep, self.cfg.m_group).any(0).nonzero().flatten().tolist()

    @property
    def rows(self) -> list[int]:
        """Rows of the region that are read, in order."""
        channels = self.x.shape[1]
        marked = self.marked
        return [tile * channels + k for tile in range(ceil_div(self.w.shape[0], self.cfg.tile_outputs)) for k in marked]

    @property
    def beats(self) -> int:
        """Beats read: of the last tile only those with outputs."""
        whole, rest = divmod(self.w.shape[0], self.cfg.tile_outputs)
        return len(self.marked) * (whole * self.cfg.tile_beats + ceil_div(rest, self.cfg.weights_per_bus))

    @property
    def registers(self) -> dict[str, int]:
        """Words of the job registers."""
        base, limit = self.region.base, self.region.base + self.region.size
        return {
            "tokens": self.x.shape[0], "channels": self.x.shape[1], "outputs": self.w.shape[0], "mode": int(self.dense),
            "keep": self.keep, "base_low": base & 0xFFFFFFFF, "base_high": base >> 32,
            "limit_low": limit & 0xFFFFFFFF, "limit_high": limit >> 32,
        }  # fmt: skip

    @property
    def size(self) -> int:
        """Bytes of the results."""
        lanes = self.cfg.weights_per_bus
        return ceil_div(self.w.shape[0], lanes) * lanes * self.x.shape[0] * self.cfg.result_width // 8

    def unpack(self, packet: Bytes) -> torch.Tensor:
        """Results of a packet. Raises FuzzError for one of another length."""
        cfg = self.cfg.replace(cols=self.cfg.weights_per_bus, weights_per_beat=0, results_per_beat=0)
        try:
            return packing.unpack_results(packet, self.x.shape[0], self.w.shape[0], cfg)
        except ConfigError as error:
            check(False, str(error))
            raise

    def cut(self, blocks: int) -> DecodeJob:
        """The job as it is when its packet ends after so many blocks."""
        there = torch.arange(self.x.shape[1]) < blocks * self.cfg.m_group
        return dataclasses.replace(self, x=self.x * there)
