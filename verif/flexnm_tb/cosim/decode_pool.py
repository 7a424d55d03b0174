"""Several simulated decode engines that share the outputs of a layer, one thread each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from flexnm_model.decode_driver import DecodeDriver, Region
from flexnm_model.driver import DeviceError, JobResult
from flexnm_model.packing import Bytes
from flexnm_rtl.config import Config, ConfigError, ceil_div

from flexnm_tb.cosim.decoder import SimulatedDecoder
from flexnm_tb.cosim.pool import PoolResult, UnitPool, gather, split_outputs

_PAGE = 4096
"""Regions start at multiples of it; a row has as many bytes at most."""


def kept_rows(cfg: Config, channels: int) -> int:
    """Rows a tile reads for one token of K ``channels``: those that N:M keeps, padding left out."""
    whole, rest = divmod(channels, cfg.m_group)
    return whole * cfg.n_keep + min(rest, cfg.n_keep)


def ideal_beats(cfg: Config, channels: int, outputs: int) -> int:
    """Beats of the memory bus a layer needs for one token: K, O."""
    return kept_rows(cfg, channels) * ceil_div(outputs, cfg.weights_per_bus)


@dataclass(frozen=True)
class StoredLayer:
    """A layer's weights in memory, K channels, O outputs: a region and its bytes for each part of the outputs.

    keep: N of the layer.
    """

    channels: int
    outputs: int
    keep: int
    parts: tuple[tuple[Region, Bytes], ...]


class DecodePool(UnitPool[SimulatedDecoder]):
    """Decode engines. ``with DecodePool(cfg, 2) as pool: pool.multiply(x, pool.load(w))``."""

    def __init__(self, cfg: Config, engines: int = 2) -> None:
        """See ``UnitPool``."""
        super().__init__(SimulatedDecoder, cfg, engines)
        self._next = _PAGE
        try:
            self._drivers = [DecodeDriver(decoder, cfg) for decoder in self.units]
        except BaseException:
            self.close()
            raise

    def load(self, w: torch.Tensor, keep: int | None = None) -> StoredLayer:
        """Give a layer its place in memory, behind the layers before it: w (O, K), signed integers.

        keep: N of the layer, ``n_keep`` when left out. Packed once, kept as long as the caller keeps it.
        Raises ConfigError when it does not fit the engine or its addresses.
        """
        outputs, channels = w.shape
        n = self.cfg.n_keep if keep is None else keep
        tile_cycles = ideal_beats(self.cfg.replace(n_keep=n, lanes=1), channels, self.cfg.tile_outputs)
        parts = []
        for part in split_outputs(outputs, self.cfg.tile_outputs, tile_cycles, len(self.units)):
            region, data = self._drivers[0].pack(w[part], self._next)
            parts.append((region, data))
            self._next = ceil_div(region.base + region.size, _PAGE) * _PAGE
        return StoredLayer(channels, outputs, n, tuple(parts))

    def multiply(self, x: torch.Tensor, layer: StoredLayer, advance: Callable[[], None] = lambda: None) -> PoolResult:
        """S(x) w^T: x (T, K), signed integers; any T, ``rows`` tokens a job. layer: what ``load`` gave for w.

        Counters: the engine's, ``bursts`` and ``bus_beats`` as the memory saw them. advance: see ``UnitPool.share``.
        Raises ConfigError and DeviceError as ``DecodeDriver`` does, and DeviceError for a read outside the weights.
        """
        if x.dim() != 2 or x.shape[0] == 0:
            raise ConfigError(f"activations {tuple(x.shape)} are no tokens: (T, K) is needed")
        groups = torch.split(x, self.cfg.rows)

        def work(index: int, part: tuple[Region, Bytes]) -> JobResult:
            return self._part(index, groups, layer.keep, *part)

        jobs = self.share(list(layer.parts), work, advance)
        return gather(jobs, len(jobs) * len(groups))

    def _part(self, index: int, groups: tuple[torch.Tensor, ...], keep: int, region: Region, data: Bytes) -> JobResult:
        decoder, driver = self.units[index], self._drivers[index]
        decoder.load(region.base, data)
        sums, counters = [], Counter[str]()
        for tokens in groups:
            job = driver.run(tokens, region, keep=keep)
            reads = decoder.reads
            if reads is None or reads.outside or reads.crossed:
                raise DeviceError(f"the engine read outside the weights or over a 4 KB boundary: {reads}")
            sums.append(job.results)
            counters.update({**job.counters, "bursts": reads.bursts, "bus_beats": reads.beats})
        return JobResult(torch.cat(sums), dict(counters))
