"""Finished layers of a run of ``flexnm llm``, in the cache: what an interrupted run does not compute again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from flexnm_model.cache import cache_dir, replacing
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


@dataclass(frozen=True)
class HardwareLayer:
    """What the engines made of a layer. sums: int64 (T, O). counters, jobs: added up over jobs. seconds: simulation."""

    sums: torch.Tensor
    counters: Mapping[str, int]
    jobs: int
    seconds: float


def fingerprint(*tensors: torch.Tensor) -> str:
    """SHA-256, hexadecimal, of types, shapes and contents."""
    hasher = hashlib.sha256()
    for tensor in tensors:
        hasher.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
        hasher.update(tensor.contiguous().numpy().tobytes())
    return hasher.hexdigest()


class LayerStore:
    """Layers of one setting, a file each. key: changes with everything the results depend on but the operands."""

    def __init__(self, key: str) -> None:
        self.folder = cache_dir() / "llm" / key

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        """Whether there is a result, of whatever operands."""
        return self._file(name).exists()

    def load(self, name: str, operands: str) -> HardwareLayer | None:
        """The stored result, if it is undamaged and of the operands with this ``fingerprint``."""
        try:
            with safe_open(self._file(name), "pt") as file:
                known = json.loads(file.metadata()["run"])
                sums = file.get_tensor("sums")
            if (known["operands"], known["sums"]) != (operands, fingerprint(sums)):
                return None
            return HardwareLayer(sums.to(torch.int64), known["counters"], known["jobs"], known["seconds"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None  # only lost time: the layer is computed again

    def obtain(
        self, name: str, operands: str, compute: Callable[[], HardwareLayer], *, result_width: int, fresh: bool
    ) -> tuple[HardwareLayer, bool]:
        """The stored result and True, or what ``compute`` gives, stored now, and False. fresh: compute in any case."""
        known = None if fresh else self.load(name, operands)
        if known is not None:
            return known, True
        layer = compute()
        self.save(name, operands, layer, result_width)
        return layer, False

    def save(self, name: str, operands: str, layer: HardwareLayer, result_width: int) -> None:
        """Store a result; it is there completely or not at all. result_width: bits of a sum, 32 or 64."""
        sums = layer.sums.to(torch.int32 if result_width == 32 else torch.int64)
        known = {
            "operands": operands,
            "sums": fingerprint(sums),
            "counters": dict(layer.counters),
            "jobs": layer.jobs,
            "seconds": layer.seconds,
        }
        with replacing(self._file(name)) as out:
            save_file({"sums": sums}, out, metadata={"run": json.dumps(known)})
