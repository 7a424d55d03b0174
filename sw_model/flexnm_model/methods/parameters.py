"""Calibrated and trained tensors of a model's layers, in one safetensors file.

Names inside the file are ``LAYER.TENSOR``, as in ``layers.0.mlp.up_proj.mean``; the metadata holds a JSON header.
Tensors: norm, mean, peak (K,): ``methods.calibrate``; eta (K,), a, b (O,), A (O, r), B (r, K): ``methods.train``;
weight (O, K): ``methods.refit``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from flexnm_rtl.config import ConfigError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from flexnm_model.cache import replacing

_FORMAT = "flexnm parameters 1"


@dataclass(frozen=True)
class Parameters:
    """layers: layer name (``llm.decoder_linears``) -> tensor name -> tensor. header: model key, text key, tokens, …"""

    layers: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)

    def of(self, layer: str) -> Mapping[str, torch.Tensor]:
        """The tensors of a layer; none if it is unknown."""
        return self.layers.get(layer, {})

    def merged(self, other: Parameters) -> Parameters:
        """These tensors and header, and those of ``other``; of two of the same name, that of ``other``."""
        names = list(dict.fromkeys([*self.layers, *other.layers]))
        layers = {name: {**self.of(name), **other.of(name)} for name in names}
        return Parameters(layers, {**self.header, **other.header})

    def save(self, path: Path | str) -> None:
        """Write the file; it is complete or not there at all. Raises OSError when it cannot be written."""
        tensors = {
            f"{layer}.{name}": tensor.detach().cpu().contiguous().clone()
            for layer, own in self.layers.items()
            for name, tensor in own.items()
        }
        with replacing(Path(path)) as out:
            save_file(tensors, out, metadata={"format": _FORMAT, "header": json.dumps(self.header)})

    @staticmethod
    def load(path: Path | str, *, model: str | None = None) -> Parameters:
        """Read a file. model: key of the model it must be of (``llm.model_key``), not checked if None.

        Raises ConfigError for a file that is missing, damaged, something else, or of another model.
        """
        layers: dict[str, dict[str, torch.Tensor]] = {}
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                known = metadata.get("format") == _FORMAT
                header = json.loads(metadata["header"]) if known else {}
                for key in file.keys() if known else ():
                    layer, _, name = key.rpartition(".")
                    layers.setdefault(layer, {})[name] = file.get_tensor(key)
        except FileNotFoundError:
            raise ConfigError(f"parameters {path} do not exist: make them with flexnm calibrate --out {path}") from None
        except (SafetensorError, OSError, ValueError, KeyError):
            raise ConfigError(f"parameters {path} are damaged or no safetensors: run flexnm calibrate again") from None
        if not known:
            raise ConfigError(f"{path} is no file of flexnm parameters: name one that flexnm calibrate wrote")
        if model is not None and header.get("model") != model:
            raise ConfigError(f"parameters {path} are of another model ({header.get('model')}): calibrate this one")
        return Parameters(layers, header)
