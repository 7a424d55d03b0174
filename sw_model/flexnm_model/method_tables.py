"""What a job says about the linear engine's methods: which of them are on, and the tables they read."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from flexnm_rtl.config import CHANNEL_SHIFT_WIDTH, EXPONENT_WIDTH, Config, ConfigError, ScoreFactor
from flexnm_rtl.registers import BY_NAME


@dataclass(frozen=True)
class Modes:
    """The methods of a job, as in register ``mode``."""

    factors: bool = False
    static_shift: bool = False
    token_shift: bool = False
    variance: bool = False

    def check(self, cfg: Config) -> None:
        """Raise ConfigError for a method that ``cfg`` has no hardware for."""
        there = {
            "factors": ("SCORE_FACTOR=multiply or shift", cfg.score_factor is not ScoreFactor.NONE),
            "static_shift": ("STATIC_SHIFT=1", cfg.static_shift),
            "token_shift": ("TOKEN_SHIFT=1", cfg.token_shift),
            "variance": ("VARIANCE=1", cfg.variance),
        }
        for name, (setting, present) in there.items():
            if getattr(self, name) and not present:
                raise ConfigError(f"the engine has no hardware for {name}: build one with {setting}")

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self != Modes()

    @property
    def shifts(self) -> bool:
        """Whether values are shifted; totals then need what comes with the weights' parameters."""
        return self.static_shift or self.token_shift


@dataclass(frozen=True)
class ChannelTable:
    """What the engine knows of K channels, int64 tensors (K,).

    factor: of the scores, unsigned ``factor_width`` bits (zeros without factors). shift: h, signed 16 bits.
    """

    factor: torch.Tensor
    shift: torch.Tensor

    def check(self, channels: int, cfg: Config) -> None:
        """Raise ConfigError unless shapes, types and ranges are those of the rule."""
        half = 1 << (CHANNEL_SHIFT_WIDTH - 1)
        check_vector("factors", self.factor, channels, 0, (1 << cfg.factor_width) - 1)
        check_vector("channel shifts", self.shift, channels, -half, half - 1)

    def words(self) -> list[int]:
        """A word of register ``channel_data`` for each channel."""
        register = BY_NAME["channel_data"]
        pairs = zip(self.factor.tolist(), self.shift.tolist(), strict=True)
        return [register.encode(factor=factor, channel_shift=shift) for factor, shift in pairs]


@dataclass(frozen=True)
class Methods:
    """The methods of a job and their tables.

    table: needed by factors and static shift. exponents: e of each token, int64 (T,), needed by the static shift.
    """

    modes: Modes = field(default_factory=Modes)
    table: ChannelTable | None = None
    exponents: torch.Tensor | None = None

    def check(self, cfg: Config, tokens: int, channels: int) -> None:
        """Raise ConfigError for a method without its hardware or table, and for tables that do not fit."""
        self.modes.check(cfg)
        if self.table is not None:
            self.table.check(channels, cfg)
        elif self.modes.factors or self.modes.static_shift:
            raise ConfigError("score factors and a static shift need the table of channels: give one entry a channel")
        if self.exponents is not None:
            check_vector("exponents", self.exponents, tokens, 0, (1 << EXPONENT_WIDTH) - 1)
        elif self.modes.static_shift:
            raise ConfigError("a static shift needs the exponents of the tokens' scales: give one a token")


def check_vector(name: str, vector: torch.Tensor, size: int, low: int, high: int) -> None:
    """Raise ConfigError unless ``vector`` is int64 (size,) with numbers from ``low`` to ``high``."""
    if vector.dtype != torch.int64 or tuple(vector.shape) != (size,):
        given = f"{vector.dtype} of shape {tuple(vector.shape)}"
        raise ConfigError(f"{name} are {given}: int64 of shape ({size},) is needed")
    if vector.numel() and (int(vector.min()) < low or int(vector.max()) > high):
        raise ConfigError(f"{name} are out of range: whole numbers from {low} to {high} are needed")
