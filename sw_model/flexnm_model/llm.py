"""Loading causal language models offline: one from a pip package, a GGUF file, or a Hugging Face folder."""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.cache import cache_dir, digest, file_key, replacing
from flexnm_model.packaged import DEFAULT, PACKAGED, Packaged, packaged_file

DEFAULT_MODEL = PACKAGED[DEFAULT].title
DEFAULT_BLOCKS = 30
_LINEAR = re.compile(r"(?:^|\.)(layers\.\d+\.(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj))$")

_T = TypeVar("_T")


@dataclass(frozen=True)
class LanguageModel:
    """model: a ``transformers`` causal LM, float32, evaluation mode. tokenizer: its tokenizer. name: for people."""

    model: Any
    tokenizer: Any
    name: str


def load(model: str | None = None) -> LanguageModel:
    """Load a model and its tokenizer without touching the network, except for a packaged model's first use.

    model: None (SmolLM2-135M-Instruct), a name of ``packaged.PACKAGED`` such as "gemma3-270m", a GGUF file, or a
    Hugging Face folder; a file or folder of that name goes first. A GGUF is dequantised to float32 once (20 to 50 s)
    and kept in the cache as a Hugging Face folder.
    Raises ConfigError in one line for a path that is missing, unreadable, or of an architecture without the seven
    decoder projections.
    """
    folder, name = _folder(model)
    loaded = _hugging_face(folder, name)
    if not list(decoder_linears(loaded.model)):
        kind = type(loaded.model).__name__
        raise ConfigError(f"model {name} ({kind}) has no q/k/v/o/gate/up/down projections: use a Llama-like model")
    return loaded


def model_key(model: str | None) -> str:
    """Key of the model for the cache, without loading it. Raises ConfigError for a missing path."""
    packaged = _packaged(model)
    return file_key(_existing(str(model))) if packaged is None else packaged.key


def decoder_linears(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The seven projections of every decoder layer, in layer order: ("layers.0.self_attn.q_proj", module), …

    Names are cut to start at ``layers.``, so they are the same for Llama, Qwen2 and Gemma3; vision towers are skipped.
    """
    for name, module in model.named_modules():
        found = _LINEAR.search(name)
        if found and "vision" not in name:
            yield found.group(1), module


def _packaged(model: str | None) -> Packaged | None:
    if model is None:
        return PACKAGED[DEFAULT]
    return None if Path(model).exists() else PACKAGED.get(model)


@contextlib.contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """No gradients for the model's own weights inside the block."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _existing(model: str) -> Path:
    path = Path(model)
    if not path.exists():
        known = ", ".join(PACKAGED)
        raise ConfigError(f"model {model} does not exist: name a GGUF file, a Hugging Face folder, or one of {known}")
    return path


def _folder(model: str | None) -> tuple[Path, str]:
    """The Hugging Face folder to load from, dequantised first if need be, and the model's name."""
    packaged = _packaged(model)
    if packaged is not None:
        target = cache_dir() / "models" / f"{packaged.title}-{digest(packaged.sha256)}"
        if not target.exists():
            _dequantise(packaged_file(packaged), target)
        return target, packaged.title
    path = _existing(str(model))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ConfigError(f"model {model} has no config.json: name a Hugging Face folder or a GGUF file")
        return path, path.resolve().name
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConfigError(f"model {model} is no GGUF file: name a GGUF file or a Hugging Face folder")
    target = cache_dir() / "models" / f"{path.stem}-{file_key(path)}"
    if not target.exists():
        _dequantise(path, target)
    return target, path.stem


def _dequantise(gguf: Path, target: Path) -> None:
    with replacing(target) as out:
        loaded = _hugging_face(gguf.parent, gguf.name, gguf_file=gguf.name)
        quantizer = getattr(loaded.model, "hf_quantizer", None)
        if quantizer is not None:
            # transformers 5 calls the dense model still quantised, and would refuse to save it.
            quantizer.remove_quantization_config(loaded.model)
        with _quiet():
            loaded.model.save_pretrained(out)
            loaded.tokenizer.save_pretrained(out)


def _hugging_face(folder: Path, name: str, **options: str) -> LanguageModel:
    # Before the first import of transformers: it reads them once.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

    def read() -> LanguageModel:
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **options)
        dense: dict[str, Any] = {}
        if options and hasattr(transformers, "GgufConfig"):
            # transformers 5 may keep the weights packed, transformers 4 always unpacks them.
            dense["quantization_config"] = transformers.GgufConfig(dequantize=True)
        automatic: Any = transformers.AutoModelForCausalLM
        model, loading = automatic.from_pretrained(
            str(folder), dtype=torch.float32, output_loading_info=True, **options, **dense
        )
        if loading["missing_keys"]:  # transformers would go on with random numbers
            raise ValueError(f"it has no {min(loading['missing_keys'])}")
        _check_finite(model)
        return LanguageModel(model.eval(), tokenizer, name)

    return _one_line(read, name)


def _check_finite(model: torch.nn.Module) -> None:
    """Raises ValueError for weights that are no numbers."""
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"{name} has NaN or infinity")


def _one_line(read: Callable[[], _T], name: str) -> _T:
    # transformers raises almost any exception on damaged input, so all of them become the one line.
    try:
        with _quiet():
            return read()
    except ImportError as error:
        raise ConfigError(f"model {name} needs a missing package ({error}): pip install 'flexnm[model]'") from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ConfigError(f"model {name} cannot be loaded, is it damaged or unsupported? ({reason})") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, no progress bars of transformers: they would tear the command's own output."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
