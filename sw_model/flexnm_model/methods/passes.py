"""A text on its way through a model, one decoder layer after the other, for fitting that changes layers on the way."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

_BLOCK = re.compile(r"(?:^|\.)layers\.\d+$")


class _Stop(Exception):  # noqa: N818, it is no error
    """Ends a forward pass when all that is wanted was seen."""


class BlockPasses:
    """Windows of token ids, each int64 (1, length) and all of one length, in front of the first decoder layer.

    blocks: the decoder layers of ``model``. hidden: what each window is in front of the next one, (1, length, width).
    """

    def __init__(self, model: torch.nn.Module, windows: Sequence[torch.Tensor]) -> None:
        named = [(name, module) for name, module in model.named_modules() if "vision" not in name]
        self.blocks = [module for name, module in named if _BLOCK.search(name)]
        # A layer's other arguments (positions, masks) are the same for all windows: one pass shows them.
        self._options: list[dict[str, Any]] = [{} for _ in self.blocks]
        self.hidden: list[torch.Tensor] = []
        with contextlib.ExitStack() as hooks:
            for index, block in enumerate(self.blocks):
                hooks.enter_context(block.register_forward_pre_hook(self._note_options(index), with_kwargs=True))
            model(windows[0], use_cache=False)
        with self.blocks[0].register_forward_pre_hook(self._take_hidden):
            for window in windows:
                with contextlib.suppress(_Stop):
                    model(window, use_cache=False)

    def go_to(self, index: int, layer: torch.nn.Module, see: Callable[[torch.Tensor], None]) -> None:
        """Call ``see`` with the input of ``layer``, part of decoder layer ``index``, of every window."""

        def hook(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            see(args[0])
            raise _Stop

        with layer.register_forward_pre_hook(hook):
            for hidden in self.hidden:
                with contextlib.suppress(_Stop):
                    self.blocks[index](hidden, **self._options[index])

    def go_through(self, index: int) -> None:
        """Take every window through decoder layer ``index``."""
        for number, hidden in enumerate(self.hidden):
            output = self.blocks[index](hidden, **self._options[index])
            # Some versions of transformers give a tuple.
            self.hidden[number] = output[0] if isinstance(output, tuple) else output

    def put(self, index: int, name: str, layer: torch.nn.Module) -> None:
        """Put ``layer`` in the place of the linear ``name`` ("layers.3.mlp.up_proj") of decoder layer ``index``."""
        place, _, child = name.removeprefix(f"layers.{index}.").rpartition(".")
        setattr(self.blocks[index].get_submodule(place), child, layer)

    def _note_options(self, index: int) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            self._options[index] = options

        return hook

    def _take_hidden(self, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.hidden.append(args[0])
        raise _Stop
