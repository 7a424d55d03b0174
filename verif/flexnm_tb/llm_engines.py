"""Which layer of a model runs on which engine, and the pools of engines, one for each configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Self

import torch
from flexnm_model.methods import Method, Parameters
from flexnm_model.methods.integer import config_for
from flexnm_model.methods.layer import check_tensors
from flexnm_model.methods.patterns import Pattern, Planned
from flexnm_model.methods.plan import Plan
from flexnm_rtl.config import Config

from flexnm_tb.cosim.library import build_library
from flexnm_tb.cosim.pool import EnginePool


def layer_patterns(pattern: Pattern, names: Iterable[str], model_key: str) -> Mapping[str, Pattern]:
    """The pattern of each layer of a model. names: of all its decoder linears.

    Raises ConfigError for a plan that is missing, damaged, of another model, or has more than one M.
    """
    if not isinstance(pattern, Planned):
        return pattern.layers(names)
    plan = Plan.load(pattern.file, model=model_key)
    plan.check_layers(names)
    return plan.layers


def layer_engines(
    method: Method, linears: Mapping[str, torch.nn.Linear], base: Config, parameters: Parameters, model_key: str
) -> dict[str, tuple[Method, Config]]:
    """For each layer ``method`` with the layer's own pattern, and its engine: ``base`` with N:M and what it needs.

    N is fixed when an engine is built, so a plan takes an engine for each of its N; ``lanes`` that do not divide an N
    become one. Raises ConfigError for what no engine has, and when ``parameters`` lack something.
    """
    places = {}
    for name, pattern in layer_patterns(method.pattern, linears, model_key).items():
        own = dataclasses.replace(method, pattern=pattern, integer=False)
        check_tensors(name, own, parameters.of(name), linears[name])
        places[name] = own, config_for(own, max(linears[name].in_features, base.k_max), base)
    return places


class EngineSet:
    """Pools of ``engines`` linear engines, made when first asked for. A context manager; leaving it frees them.

    advance: called with a configuration before it is built.
    """

    def __init__(self, engines: int, advance: Callable[[Config], None] = lambda cfg: None) -> None:
        self.engines, self.advance = engines, advance
        self.pools: dict[Config, EnginePool] = {}

    def pool(self, cfg: Config) -> EnginePool:
        """The engines of a configuration. Raises ConfigError for a bad number of engines, and VerilatorError."""
        if cfg not in self.pools:
            self.advance(cfg)
            self.pools[cfg] = EnginePool(cfg, self.engines)
        return self.pools[cfg]

    def library(self, cfg: Config) -> str:
        """Name of the library the engines of ``cfg`` are in; it changes with everything that goes into them."""
        self.pool(cfg)
        return build_library("linear", cfg).stem

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for pool in self.pools.values():
            pool.close()
