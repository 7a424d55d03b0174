"""Real layers: the inputs and weights of a language model's linears on a text, kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from flexnm_rtl.config import ConfigError, ceil_div
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from flexnm_model import llm, text
from flexnm_model.cache import cache_dir, digest, replacing

_WINDOW = 512
_VERSION = 1


@dataclass(frozen=True)
class LayerData:
    """One linear layer. x: its input activations, float32 (tokens, K). w: its weights, float32 (O, K)."""

    x: torch.Tensor
    w: torch.Tensor


def default_layers(blocks: int) -> tuple[str, ...]:
    """q, gate and down projection of an early, a middle and a late block of a model with ``blocks`` of them."""
    chosen = sorted({min(1, blocks - 1), blocks // 2, max(0, blocks - 2)})
    return tuple(
        f"layers.{b}.{part}" for b in chosen for part in ("self_attn.q_proj", "mlp.gate_proj", "mlp.down_proj")
    )


DEFAULT_LAYERS = default_layers(llm.DEFAULT_BLOCKS)


def capture(
    layers: Sequence[str] | None = None,
    tokens: int = 512,
    model: str | None = None,
    text_path: str | None = None,
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, LayerData]:
    """Inputs and weights of ``layers`` while the model reads the first ``tokens`` tokens of the text.

    layers: names such as "layers.15.mlp.down_proj"; None: ``default_layers``. model: see ``llm.load``. text_path: see
    ``text.load_text``. advance: called with the windows read and their total; not at all if the cache has the result.
    The text is read in windows of up to 512 tokens; a BOS that the tokenizer wants in front is not captured.
    Raises ConfigError for a layer that does not exist, a text that is too short, and what loading raises.
    """
    if tokens < 1:
        raise ConfigError(f"tokens={tokens} is out of range: it must be at least 1")
    wanted = None if layers is None else tuple(dict.fromkeys(layers))
    key = digest(_VERSION, llm.model_key(model), text.text_key(text_path), wanted, tokens)
    path = cache_dir() / "captures" / f"{key}.safetensors"
    if not path.exists():
        tensors = _run(llm.load(model), wanted, tokens, text.load_text(text_path), advance)
        with replacing(path) as out:
            save_file(tensors, out)
    try:
        stored = load_file(path)
    except (SafetensorError, OSError):
        raise ConfigError(f"captured layers {path.name} are damaged: delete this file from the cache") from None
    names = sorted({name.rpartition(".")[0] for name in stored})
    return {name: LayerData(stored[f"{name}.x"], stored[f"{name}.w"]) for name in wanted or names}


def _run(
    loaded: llm.LanguageModel,
    wanted: tuple[str, ...] | None,
    tokens: int,
    content: str,
    advance: Callable[[int, int], None],
) -> dict[str, torch.Tensor]:
    linears = dict(llm.decoder_linears(loaded.model))
    chosen = wanted if wanted is not None else default_layers(len({name.split(".")[1] for name in linears}))
    missing = [name for name in chosen if name not in linears]
    if missing:
        raise ConfigError(f"no layer {missing[0]} in {loaded.name}: names are like {list(linears)[-1]}")
    length = min(tokens, _WINDOW)
    windows = text.windows(loaded.tokenizer, content, ceil_div(tokens, length), length)
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in chosen}
    handles = [linears[name].register_forward_pre_hook(_recorder(seen[name], length)) for name in chosen]
    try:
        with torch.inference_mode():
            for done, window in enumerate(windows, 1):
                # The body without the output head: nobody needs the logits.
                loaded.model.base_model(window, use_cache=False)
                advance(done, len(windows))
    finally:
        for handle in handles:
            handle.remove()
    tensors = {f"{name}.x": torch.cat(seen[name])[:tokens].clone() for name in chosen}
    weights = {f"{name}.w": linears[name].get_parameter("weight").detach().float().clone() for name in chosen}
    return tensors | weights


def _recorder(into: list[torch.Tensor], length: int) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
    def record(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        into.append(args[0].detach().flatten(0, -2)[-length:].float().clone())

    return record
