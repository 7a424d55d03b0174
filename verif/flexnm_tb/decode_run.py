"""Greedy text of a language model whose decoder linears run on the simulated decode engine, each checked.

One token at a time with the model's key-value cache, the prompt's tokens as well: every layer sees one token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from flexnm_model import decode_driver, driver, llm, packing
from flexnm_model.cache import digest
from flexnm_model.integer_linear import IntegerLinear, swap
from flexnm_model.methods.patterns import Blocks, Pattern
from flexnm_model.quantize import quantize
from flexnm_rtl.config import Config, ConfigError

from flexnm_tb.cosim import decode_pool, decoder, engine, pool
from flexnm_tb.cosim.decode_pool import DecodePool
from flexnm_tb.cosim.library import build_library
from flexnm_tb.decode_layers import CheckedDecodeLinear, DecodeRow, DecodeRun
from flexnm_tb.llm_engines import layer_patterns
from flexnm_tb.llm_layers import Advance, Position
from flexnm_tb.llm_run import FLOAT, check_length, choose_layers, code_key, one_thread
from flexnm_tb.llm_store import LayerStore

PROMPT = "The capital of France is"
SOURCES = (decode_driver, driver, packing, engine, decoder, pool, decode_pool)
"""The sums pass through these modules."""


@dataclass(frozen=True)
class Generation:
    """What a model wrote. ids: new tokens. text: prompt and new tokens. logits: float32 (steps, vocabulary)."""

    ids: list[int]
    text: str
    logits: torch.Tensor


@dataclass(frozen=True)
class Outcome:
    """A run. generations: by numeric format, in order: float, software, engine."""

    model: str
    prompt: str
    prompt_tokens: int
    tokens: int
    pattern: str
    engines: int
    library: str
    rows: list[DecodeRow]
    generations: dict[str, Generation]

    @property
    def mismatches(self) -> int:
        """Sums of the engine that differ from the model's."""
        return sum(row.mismatches for row in self.rows)

    @property
    def identical(self) -> bool:
        """Whether engine and software wrote the same tokens, from equal logits to the last bit."""
        software, hardware = list(self.generations.values())[-2:]
        return software.ids == hardware.ids and torch.equal(software.logits, hardware.logits)

    @property
    def good(self) -> bool:
        """Whether the engine did everything right."""
        return self.identical and not self.mismatches


def run_decode(
    cfg: Config,
    pattern: Pattern | None = None,
    *,
    prompt: str = PROMPT,
    tokens: int = 16,
    model: str | None = None,
    engines: int = 2,
    fresh: bool = False,
    advance: Advance = lambda position: None,
) -> Outcome:
    """Let the model go on after ``prompt`` for ``tokens`` tokens in three numeric formats, the last on the engine.

    An end-of-text token is a token like any other. pattern: N:M, or a plan with an N for each layer; that of ``cfg``
    when left out. fresh: use no results of earlier runs. advance: called with the position, in this thread.
    Raises ConfigError for bad input and layers that do not fit, before anything is simulated; VerilatorError;
    DeviceError when an engine reports an error.
    """
    if tokens < 1:
        raise ConfigError(f"TOKENS={tokens} is out of range: at least 1 new token is needed")
    advance(Position("reading the model", tokens))
    loaded = llm.load(model)
    linears = dict(llm.decoder_linears(loaded.model))
    choose_layers(None, linears, cfg, loaded.name)
    key = llm.model_key(model)
    asked = pattern or Blocks(cfg.n_keep, cfg.m_group)
    keeps = _keeps(layer_patterns(asked, linears, key), cfg)
    ids: list[int] = loaded.tokenizer(prompt)["input_ids"]
    if not ids:
        raise ConfigError("PROMPT is empty: give the model a word to start from")
    steps = len(ids) + tokens - 1  # the last token is written, not read
    check_length(loaded, steps)
    advance(Position("building the engine", steps))
    library = build_library("decode", cfg).stem
    setting = digest("decode", key, keeps, ids, cfg.as_dict(), library, engines, code_key(*SOURCES))
    # With one thread PyTorch adds up in one order, whatever else the machine does.
    with one_thread(), torch.inference_mode(), DecodePool(cfg, engines) as engine_pool:
        weights = {name: quantize(module.get_parameter("weight"), cfg.weight_width) for name, module in linears.items()}
        advance(Position("packing the weights", steps))
        run = DecodeRun(cfg, engine_pool, LayerStore(setting), weights, keeps, steps, fresh, advance)
        generations = _formats(loaded, ids, tokens, f"INT{cfg.act_width} {asked}", run)
    return Outcome(loaded.name, prompt, len(ids), tokens, str(asked), engines, library, run.rows, generations)


def _keeps(patterns: Mapping[str, Pattern], cfg: Config) -> dict[str, int]:
    """N of each layer. Raises ConfigError for patterns that are no N:M of the engine's M."""
    keeps = {}
    for name, pattern in patterns.items():
        if not isinstance(pattern, Blocks) or pattern.m != cfg.m_group:
            m = cfg.m_group
            raise ConfigError(f"pattern {pattern} of {name} is no N:{m}: the decode engine keeps N of {m} channels")
        keeps[name] = pattern.n
    return keeps


def _formats(
    loaded: llm.LanguageModel, ids: list[int], tokens: int, label: str, run: DecodeRun
) -> dict[str, Generation]:
    """What the model writes, by numeric format. label: of those in integers."""

    def software(name: str, linear: torch.nn.Linear) -> torch.nn.Module:
        return IntegerLinear(linear, run.cfgs[name], name=name, weight=run.weights[name])

    def hardware(name: str, linear: torch.nn.Linear) -> torch.nn.Module:
        return CheckedDecodeLinear(name, linear, run)

    def tell(label: str) -> Callable[[int], None]:
        return lambda step: run.advance(Position(f"{step + 1}/{run.steps} {label}", run.steps))

    def begin(step: int) -> None:
        run.step = step

    results = {FLOAT: generate(loaded, ids, tokens, tell(FLOAT))}
    with swap(loaded.model, software):
        results[f"{label}, model"] = generate(loaded, ids, tokens, tell(f"{label}, model"))
    with swap(loaded.model, hardware):
        results[f"{label}, RTL"] = generate(loaded, ids, tokens, begin)
    return results


def generate(
    loaded: llm.LanguageModel, prompt: list[int], tokens: int, begin: Callable[[int], None] = lambda step: None
) -> Generation:
    """Greedy text, one token a step: the likeliest token each time, the lowest number among equals.

    begin: called with the number of each step before it. Raises ConfigError when the model computes NaN.
    """
    ids, logits, cache = list(prompt), [], None
    for step in range(len(prompt) + tokens - 1):
        begin(step)
        done = loaded.model(torch.tensor([[ids[step]]]), past_key_values=cache, use_cache=True)
        cache, row = done.past_key_values, done.logits[0, -1].float()
        if bool(row.isnan().any()):
            raise ConfigError("the model computes NaN on this text: is its file damaged?")
        logits.append(row)
        if step + 1 == len(ids):
            ids.append(int((row == row.max()).nonzero()[0]))
    text: str = loaded.tokenizer.decode(ids)
    return Generation(ids[len(prompt) :], text, torch.stack(logits))
