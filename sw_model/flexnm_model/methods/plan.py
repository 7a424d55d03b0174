"""A plan: the pattern N:M of every layer, one M for all, as a JSON file that the method ``plan:FILE`` applies.

    {"format": "flexnm plan 1", "model": …, "layers": {"layers.0.mlp.up_proj": "11:16", …}, …}

Only ``layers`` is needed, so that a plan can be written by hand; what else stands there is the header.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.cache import replacing
from flexnm_model.llm import decoder_linears
from flexnm_model.methods.budget import Budget
from flexnm_model.methods.patterns import Blocks, read_plan

_FORMAT = "flexnm plan 1"

Shapes = Mapping[str, tuple[int, int]]
"""Layer name -> (O, K)."""


@dataclass(frozen=True)
class Plan:
    """layers: layer name (``llm.decoder_linears``) -> its pattern. header: model key, budget, how it was measured, …

    Raises ConfigError for a plan without layers, and for layers of different M: the engines have one block size.
    """

    layers: Mapping[str, Blocks]
    header: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers:
            raise ConfigError("the plan has no layers: it must map each layer to a pattern N:M")
        first = next(iter(self.layers))
        for name, blocks in self.layers.items():
            if blocks.m != self.layers[first].m:
                raise ConfigError(
                    f"the plan has {self.layers[first]} for {first} but {blocks} for {name}: all layers need the same M"
                )

    @staticmethod
    def uniform(names: Iterable[str], n: int, m: int) -> Plan:
        """The same pattern for all layers. Raises ConfigError unless 1 <= n <= m <= 32."""
        return Plan(dict.fromkeys(names, Blocks(n, m)))

    @property
    def m(self) -> int:
        """Channels in a block."""
        return next(iter(self.layers.values())).m

    def cost(self, shapes: Shapes, budget: Budget) -> int:
        """What all layers cost in the unit of ``budget``. Raises ConfigError when the plan is of another model."""
        self.check_layers(shapes)
        return sum(budget.cost(k, o, self.layers[name].n, self.m) for name, (o, k) in shapes.items())

    def average(self, shapes: Shapes) -> float:
        """Kept channels of a block of M, weighted by each layer's multiplications. Raises ConfigError as ``cost``."""
        dense = Plan.uniform(shapes, self.m, self.m).cost(shapes, Budget())
        return self.m * self.cost(shapes, Budget()) / dense

    def check_layers(self, names: Iterable[str]) -> None:
        """Raise ConfigError unless the plan has these layers and no others."""
        wanted = set(names)
        strange = sorted(wanted ^ self.layers.keys())
        if strange:
            what = "lacks" if strange[0] in wanted else "has a layer that the model lacks:"
            raise ConfigError(f"the plan {what} {strange[0]}: was it made for another model?")

    def save(self, path: Path | str) -> None:
        """Write the file; it is complete or not there at all. Raises OSError when it cannot be written."""
        content = {"format": _FORMAT, **self.header, "layers": {name: str(b) for name, b in self.layers.items()}}
        with replacing(Path(path)) as out:
            out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path | str, *, model: str | None = None) -> Plan:
        """Read a file. model: key of the model it must be of (``llm.model_key``), checked if both are known.

        Raises ConfigError for a file that is missing, damaged or of another model.
        """
        layers, header = read_plan(str(path))
        if header.pop("format", _FORMAT) != _FORMAT:
            raise ConfigError(f"{path} is no flexnm plan of version 1: make one with flexnm plan --out {path}")
        if model is not None and header.get("model", model) != model:
            raise ConfigError(f"plan {path} is of another model ({header['model']}): make one for this model")
        return Plan(layers, header)


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """(O, K) of every decoder linear of a dense model."""
    weights = [(name, linear.get_parameter("weight")) for name, linear in decoder_linears(model)]
    return {name: (weight.shape[0], weight.shape[1]) for name, weight in weights}


def shared_inputs(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Layers by the input they read, in the order of ``names``: (q, k, v), (o,), (gate, up), (down,) of each block."""
    groups: dict[str, list[str]] = {}
    for name in names:
        block, _, kind = name.rpartition(".")
        shared = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}.get(kind, kind)
        groups.setdefault(f"{block}.{shared}", []).append(name)
    return [tuple(group) for group in groups.values()]
