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
from flexnm_model import driver, llm, method_tables, packing, requantize, text
from flexnm_model.cache import digest
from flexnm_model.integer_linear import IntegerLinear, check_fits, swap
from flexnm_model.methods import Method, Parameters
from flexnm_model.methods.integer import integer_layer
from flexnm_model.methods.patterns import Blocks
from flexnm_model.perplexity import WindowLoss, perplexity
from flexnm_rtl.config import Config, ConfigError

from flexnm_tb.cosim import engine, linear_module, pool
from flexnm_tb.llm_engines import EngineSet, layer_engines
from flexnm_tb.llm_layers import Advance, CheckedLinear, LayerRow, LayerRun, Position
from flexnm_tb.llm_store import LayerStore

FLOAT = "float dense"
SOURCES = (driver, method_tables, packing, requantize, engine, linear_module, pool)
"""The sums pass through these modules."""


@dataclass(frozen=True)
class Outcome:
    """A run. perplexity: by numeric format, in order, on the same tokens. identical: last two equal to the last bit.

    libraries: of the engines, by the name of their simulation.
    """

    model: str
    method: str
    tokens: int
    engines: int
    libraries: dict[str, Config]
    rows: list[LayerRow]
    perplexity: dict[str, float]
    identical: bool

    @property
    def array(self) -> str:
        """Size of the engines."""
        sizes = dict.fromkeys((cfg.rows, cfg.cols, cfg.lanes) for cfg in self.libraries.values())
        return " or ".join(f"{rows} x {cols} elements, {lanes} lane{'s' * (lanes > 1)}" for rows, cols, lanes in sizes)

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
    method: Method | None = None,
    *,
    parameters: str | None = None,
    layers: Sequence[str] | None = None,
    tokens: int = 64,
    model: str | None = None,
    text_path: str | None = None,
    engines: int = 2,
    fresh: bool = False,
    advance: Advance = lambda position: None,
) -> Outcome:
    """Run the first ``tokens`` tokens of the text in four numeric formats, the last of them on the engine.

    method: N:M of ``cfg`` by magnitude when left out; engines are ``cfg`` with what it needs (``llm_engines``).
    parameters: file of what it needs from calibration or training. layers: which decoder linears run on the engine, all
    for None; the others run on the software model. fresh: use no results of earlier runs. advance: called with the
    position, in this thread.
    Raises ConfigError for bad input and layers that do not fit, before anything is simulated; VerilatorError;
    DeviceError when an engine reports an error.
    """
    if tokens < 2:
        raise ConfigError(f"TOKENS={tokens} is out of range: perplexity needs at least 2")
    advance(Position("reading the model", tokens))
    content = text.load_text(text_path)
    loaded = llm.load(model)
    key = llm.model_key(model)
    known = Parameters() if parameters is None else Parameters.load(parameters, model=key)
    asked = method or Method(Blocks(cfg.n_keep, cfg.m_group))
    chosen = choose_layers(layers, dict(llm.decoder_linears(loaded.model)), cfg, loaded.name)
    linears = {n: part for n, part in llm.decoder_linears(loaded.model) if isinstance(part, torch.nn.Linear)}
    places = layer_engines(asked, linears, cfg, known, key)
    (window,) = text.windows(loaded.tokenizer, content, 1, tokens)
    check_length(loaded, window.shape[1])
    run = LayerRun(window.shape[1], fresh, advance)
    setting = (key, text.text_key(text_path), tokens, engines, code_key(*SOURCES))

    def build(name: str, linear: torch.nn.Linear, pools: EngineSet) -> torch.nn.Module:
        own, engine_cfg = places[name]
        if name not in chosen:
            return integer_layer(name, linear, own, known, engine_cfg)
        store = LayerStore(digest(*setting, str(own), engine_cfg.as_dict(), pools.library(engine_cfg)))
        return CheckedLinear(name, linear, pools.pool(engine_cfg), own, known.of(name), run, store)

    # With one thread PyTorch adds up in one order, whatever else the machine does.
    with one_thread(), torch.inference_mode(), EngineSet(engines, run.building) as pools:
        made = {name: build(name, linear, pools) for name, linear in linears.items()}
        # Layers that are not on the engine may be larger than it.
        wide = cfg.replace(k_max=max(cfg.k_max, *(linear.in_features for linear in linears.values())))
        values, identical = _formats(loaded.model, window, wide, str(asked), made, run)
        libraries = {pools.library(used): used for used in pools.pools}
    return Outcome(loaded.name, str(asked), window.shape[1], engines, libraries, run.rows, values, identical)


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


def _formats(
    model: torch.nn.Module,
    window: torch.Tensor,
    cfg: Config,
    method: str,
    layers: dict[str, torch.nn.Module],
    run: LayerRun,
) -> tuple[dict[str, float], bool]:
    """Perplexities by numeric format, and whether the last two formats gave the same logits and loss.

    layers: what takes the linears' places under ``method``, on the engine once ``run`` simulates.
    """
    integer = f"INT{cfg.act_width}"
    found: list[tuple[str, float, torch.Tensor]] = []

    def measure(label: str) -> None:
        run.advance(Position(label, run.tokens))
        found.append((label, *_loss(model, window)))

    def dense(name: str, linear: torch.nn.Linear) -> torch.nn.Module:
        return IntegerLinear(linear, cfg, name=name, dense=True)

    measure(FLOAT)
    with swap(model, dense):
        measure(f"{integer} dense, model")
    with swap(model, lambda name, linear: layers[name]):
        measure(f"{integer} {method}, model")
        run.simulate = True
        measure(f"{integer} {method}, RTL")
    (_, model_nll, model_logits), (_, nll, logits) = found[-2:]
    predicted = window.shape[1] - 1
    values = {label: perplexity([WindowLoss(value, predicted, 0)]) for label, value, _ in found}
    return values, nll == model_nll and torch.equal(logits, model_logits)


def _loss(model: torch.nn.Module, window: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Summed negative log likelihood of the window, and its logits."""
    logits = model(window, use_cache=False).logits[0].float()
    nll = float(torch.nn.functional.cross_entropy(logits[:-1], window[0, 1:], reduction="sum"))
    if math.isnan(nll):
        raise ConfigError("the model computes NaN on this text: is its file damaged?")
    return nll, logits
