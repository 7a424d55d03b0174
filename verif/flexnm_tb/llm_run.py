"""A text through a language model whose decoder linears run on the simulated engine, each checked bit for bit."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from flexnm_model import driver, llm, packing, text
from flexnm_model.cache import digest
from flexnm_model.integer_linear import IntegerLinear, check_fits, swap
from flexnm_model.perplexity import WindowLoss, perplexity
from flexnm_model.quantize import quantize
from flexnm_rtl.config import Config, ConfigError

from flexnm_tb.cosim import engine, pool
from flexnm_tb.cosim.library import build_library
from flexnm_tb.cosim.pool import EnginePool
from flexnm_tb.llm_layers import Advance, CheckedLinear, LayerRow, LayerRun, Position
from flexnm_tb.llm_store import LayerStore

FLOAT = "float dense"
SOURCES = (driver, packing, engine, pool)
"""The sums pass through these modules."""


@dataclass(frozen=True)
class Outcome:
    """A run. perplexity: by numeric format, in order, on the same tokens. identical: last two equal to the last bit."""

    model: str
    tokens: int
    engines: int
    library: str
    rows: list[LayerRow]
    perplexity: dict[str, float]
    identical: bool

    @property
    def mismatches(self) -> int:
        """Sums of the engine that differ from the model's."""
        return sum(row.mismatches for row in self.rows)

    @property
    def good(self) -> bool:
        """Whether the engine did everything right."""
        return self.identical and not self.mismatches


def run_llm(
    cfg: Config,
    *,
    layers: Sequence[str] | None = None,
    tokens: int = 64,
    model: str | None = None,
    text_path: str | None = None,
    engines: int = 2,
    fresh: bool = False,
    advance: Advance = lambda position: None,
) -> Outcome:
    """Run the first ``tokens`` tokens of the text in four numeric formats, the last of them on the engine.

    layers: which decoder linears run on the engine, all for None; the others run on the software model. fresh: use no
    results of earlier runs. advance: called with the position, in this thread.
    Raises ConfigError for bad input and layers that do not fit, before anything is simulated; VerilatorError;
    DeviceError when an engine reports an error.
    """
    if tokens < 2:
        raise ConfigError(f"TOKENS={tokens} is out of range: perplexity needs at least 2")
    advance(Position("reading the model", tokens))
    content = text.load_text(text_path)
    loaded = llm.load(model)
    linears = dict(llm.decoder_linears(loaded.model))
    chosen = choose_layers(layers, linears, cfg, loaded.name)
    (window,) = text.windows(loaded.tokenizer, content, 1, tokens)
    check_length(loaded, window.shape[1])
    advance(Position("building the engine", tokens))
    library = build_library("linear", cfg).stem
    key = digest(
        llm.model_key(model), text.text_key(text_path), tokens, cfg.as_dict(), library, engines, code_key(*SOURCES)
    )
    # With one thread PyTorch adds up in one order, whatever else the machine does.
    with one_thread(), torch.inference_mode(), EnginePool(cfg, engines) as engine_pool:
        weights = {name: quantize(module.get_parameter("weight"), cfg.weight_width) for name, module in linears.items()}
        run = LayerRun(cfg, engine_pool, LayerStore(key), weights, chosen, window.shape[1], fresh, advance)
        values, identical = _formats(loaded.model, window, run)
    return Outcome(loaded.name, window.shape[1], engines, library, run.rows, values, identical)


def choose_layers(
    layers: Sequence[str] | None, linears: dict[str, torch.nn.Module], cfg: Config, model: str
) -> tuple[str, ...]:
    """Names of the linears for the engine, all for None. Raises ConfigError for one that is missing or too large."""
    chosen = tuple(dict.fromkeys(linears if layers is None else layers))
    missing = [name for name in chosen if name not in linears]
    if missing:
        raise ConfigError(f"no layer {missing[0]} in {model}: names are like {list(linears)[-1]}")
    for name in chosen:
        check_fits(name, linears[name], cfg)
    return chosen


def check_length(loaded: llm.LanguageModel, tokens: int) -> None:
    """Raise ConfigError when the model reads fewer tokens at a time."""
    limit = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and tokens > limit:
        raise ConfigError(f"{loaded.name} reads at most {limit} tokens at a time, not {tokens}: lower TOKENS")


def code_key(*modules: ModuleType) -> str:
    """Key of the sources of ``modules``."""
    return hashlib.sha256(b"".join(Path(str(m.__file__)).read_bytes() for m in modules)).hexdigest()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch with one thread inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _formats(model: torch.nn.Module, window: torch.Tensor, run: LayerRun) -> tuple[dict[str, float], bool]:
    """Perplexities by numeric format, and whether the last two formats gave the same logits and loss."""
    cfg, weights = run.software_cfg, run.weights

    def software(name: str, linear: torch.nn.Linear, dense: bool = False) -> torch.nn.Module:
        return IntegerLinear(linear, cfg, name=name, weight=weights[name], dense=dense)

    def hardware(name: str, linear: torch.nn.Linear) -> torch.nn.Module:
        return CheckedLinear(name, linear, run) if name in run.chosen else software(name, linear)

    integer = f"INT{cfg.act_width}"
    results: dict[str, tuple[float, torch.Tensor]] = {}
    run.advance(Position(FLOAT, run.tokens))
    results[FLOAT] = _loss(model, window)
    for label, factory in (
        (f"{integer} dense, model", lambda name, linear: software(name, linear, dense=True)),
        (f"{integer} {cfg.pattern}, model", software),
        (f"{integer} {cfg.pattern}, RTL", hardware),
    ):
        run.advance(Position(label, run.tokens))
        with swap(model, factory):
            results[label] = _loss(model, window)
    (model_nll, model_logits), (nll, logits) = list(results.values())[-2:]
    predicted = window.shape[1] - 1
    values = {label: perplexity([WindowLoss(value, predicted, 0)]) for label, (value, _) in results.items()}
    return values, nll == model_nll and torch.equal(logits, model_logits)


def _loss(model: torch.nn.Module, window: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Summed negative log likelihood of the window, and its logits."""
    logits = model(window, use_cache=False).logits[0].float()
    nll = float(torch.nn.functional.cross_entropy(logits[:-1], window[0, 1:], reduction="sum"))
    if math.isnan(nll):
        raise ConfigError("the model computes NaN on this text: is its file damaged?")
    return nll, logits
