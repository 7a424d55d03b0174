"""Sparse linear layers in integers, as the linear engine computes them: any combination it has hardware for.

scaling, refit, ls (scale), weight pruning    folded into the weights before they are quantised
score                                         factors in the engine's table of channels
s-pts, l-pts                                  shift in the table of channels, power-of-two scales of the tokens
d-pts, var                                    in the engine
r-sparse                                      two dense jobs more (``flexnm_model.residual``)
ls (shift), the layer's own bias              float32, after dequantisation
"""

from __future__ import annotations

import torch
from flexnm_rtl.config import GAIN_FRACTION, Config, ConfigError, ScoreFactor

from flexnm_model import fixed_point, token_methods
from flexnm_model.compress import pattern_config
from flexnm_model.integer_linear import QuantizedLinear, dequantize_sums
from flexnm_model.matmul import dense_matmul
from flexnm_model.method_tables import ChannelTable, Methods, Modes
from flexnm_model.methods.baselines import Dense
from flexnm_model.methods.layer import SparseLinear, Tensors
from flexnm_model.methods.parameters import Parameters
from flexnm_model.methods.patterns import Blocks
from flexnm_model.methods.spec import Method
from flexnm_model.requantize import Requantization
from flexnm_model.residual import LowRank, residual

FRACTION_BITS = 2
"""Of the default configuration of methods that shift; docs/methods.md has the accuracy against the bits."""


class MethodLinear(QuantizedLinear):
    """A linear layer under a method, in the software model of the engine ``cfg``.

    sparse: the float layer; the weights here are its own with everything folded in that can be. method: its method.
    peak: largest input there will be, if known (``fixed_point.quantize_shift``). gain_fraction: bits of the gain.
    Hardware replaces ``product`` and ``dense_product``; all other lines are the same.
    Raises ConfigError when ``cfg`` lacks the hardware, and for what no engine has.
    """

    def __init__(
        self,
        sparse: SparseLinear,
        method: Method,
        cfg: Config,
        *,
        name: str = "layer",
        peak: float = 0.0,
        gain_fraction: int = GAIN_FRACTION,
    ) -> None:
        _check_pattern(method, cfg)
        output_scale, bias = _output(sparse)
        super().__init__(_folded(sparse, output_scale, bias), cfg, name=name)
        self.method = method
        self.modes = modes_of(method)
        self.modes.check(cfg)
        self.gain_fraction = gain_fraction
        self.dense = isinstance(method.pattern, Dense)
        self.scale = sparse.stage.scale
        self.static = self._shift(sparse.stage.shift, peak)
        self.table = self._table(sparse.stage.factor)
        self.requantization: Requantization | None = None
        if self.modes.shifts:
            back = None if self.static is None else fixed_point.shift_bias(self.static, self.weight.q)
            self.requantization = fixed_point.parameters(self.weight.scale, cfg, back)
        self.low_rank: LowRank | None = None
        if "A" in sparse.learned:
            a = sparse.learned["A"].detach() * output_scale[:, None]
            self.low_rank = LowRank.of(a, sparse.learned["B"].detach(), cfg.weight_width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: float (…, K) -> (…, O), the type of ``x``. Raises ConfigError for NaN and infinity."""
        flat = x.detach().flatten(0, -2)
        flat = flat if self.scale is None else flat / self.scale
        tokens = fixed_point.quantize_tokens(flat, self.cfg, self.modes, self.static)
        unit = tokens.scale * 2.0**-self.cfg.fraction_bits
        y = dequantize_sums(self.product(tokens.q, tokens.exponents), unit, self.weight.scale, None)
        if self.low_rank is not None:
            selected = token_methods.select_values(tokens.q, self.cfg, self.methods(tokens.exponents))
            y = y + residual(selected, tokens.scale, self.low_rank, self.cfg, self.dense_product)
        y = y if self.bias is None else y + self.bias.to(torch.float32)
        return y.to(x.dtype).view(*x.shape[:-1], -1)

    def methods(self, exponents: torch.Tensor | None) -> Methods:
        """What the engine is told for a job of tokens with these exponents."""
        return Methods(self.modes, self.table, exponents)

    def product(self, x: torch.Tensor, exponents: torch.Tensor | None = None) -> torch.Tensor:
        """Totals, int64 (T, O), of quantised activations x (T, K); exponents: int64 (T,), in static mode."""
        if self.dense:
            return self.dense_product(x, self.weight.q)
        result = token_methods.compute(
            x, self.weight.q, self.cfg, self.modes, self.table, exponents, self.requantization,
            gain_fraction=self.gain_fraction,
        )  # fmt: skip
        return token_methods.finish(result.totals, self.cfg)

    def dense_product(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Sums of a dense job, int64 (T, O): x (T, K), w (O, K)."""
        return dense_matmul(x, w, self.cfg)

    def _shift(self, shift: torch.Tensor | None, peak: float) -> fixed_point.StaticShift | None:
        if shift is None:
            return None
        return fixed_point.quantize_shift(shift, self.cfg, token_shift=self.modes.token_shift, peak=peak)

    def _table(self, factor: torch.Tensor | None) -> ChannelTable | None:
        if factor is None and self.static is None:
            return None
        zeros = torch.zeros(self.weight.q.shape[1], dtype=torch.int64, device=self.weight.q.device)
        return ChannelTable(
            zeros if factor is None else fixed_point.quantize_factors(factor, self.cfg),
            zeros if self.static is None else self.static.h,
        )


def integer_layer(
    name: str, linear: torch.nn.Linear, method: Method, parameters: Parameters, cfg: Config | None = None
) -> MethodLinear:
    """The layer in integers as the hardware computes it. method: with the pattern of this layer (no plan).

    cfg: the engine; None: ``config_for`` with 8-bit operands.
    Raises ConfigError for missing parameters, what no engine has (unstructured pruning, the median as token shift),
    and a method that ``cfg`` lacks the hardware for.
    """
    modes_of(method)
    tensors = parameters.of(name)
    sparse = SparseLinear(linear, method, tensors, name=name)
    engine = config_for(method, linear.in_features) if cfg is None else cfg
    return MethodLinear(sparse, method, engine, name=name, peak=largest_input(sparse, tensors))


def config_for(method: Method, channels: int, base: Config | None = None) -> Config:
    """The smallest engine that has the hardware for ``method`` and layers of so many channels.

    base: sizes and widths to start from; the default has one lane. Factors have 8 bits, and shifted values
    ``FRACTION_BITS``, unless ``base`` has that hardware already. A flexible ``base`` keeps its own N and M.
    Raises ConfigError like ``modes_of``.
    """
    modes, pattern = modes_of(method), method.pattern
    start = Config(lanes=1) if base is None else base
    n, m = (pattern.n, pattern.m) if isinstance(pattern, Blocks) else (start.n_keep, start.m_group)
    if start.flexible:
        pattern_config(start, (n, m))
        n, m = start.n_keep, start.m_group
    kind = start.score_factor if start.score_factor is not ScoreFactor.NONE else ScoreFactor.MULTIPLY
    return start.replace(
        n_keep=n,
        m_group=m,
        lanes=start.lanes if n % start.lanes == 0 else 1,
        k_max=max(m, channels),
        score_factor=kind if modes.factors else ScoreFactor.NONE,
        factor_width=start.factor_width if modes.factors else 0,
        static_shift=modes.static_shift,
        token_shift=modes.token_shift,
        variance=modes.variance,
        fraction_bits=(start.fraction_bits if start.shifts else FRACTION_BITS) if modes.shifts else 0,
    )


def modes_of(method: Method) -> Modes:
    """The engine's modes for ``method``. Raises ConfigError for what no engine has."""
    if not isinstance(method.pattern, Dense | Blocks):
        raise ConfigError(f"{method.pattern} has no integer model: the engine has N:M and dense, such as 8:16@int8")
    slots = {step.slot for step in method.steps}
    if any(step.name == "d-pts-median" for step in method.steps):
        raise ConfigError("d-pts-median has no integer model: the engine shifts by the mean, d-pts")
    return Modes(method.score != "act", "shift" in slots, "token shift" in slots, "gain" in slots)


def _check_pattern(method: Method, cfg: Config) -> None:
    pattern = method.pattern
    if isinstance(pattern, Blocks) and str(pattern) != cfg.pattern:
        raise ConfigError(f"{method} does not fit an engine of {cfg.pattern}: build one of {pattern}")


def _output(sparse: SparseLinear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What outputs are multiplied by, 1 + a, float64 (O,), and what is added at the end, b + b0, or None."""
    learned = {key: tensor.detach().to(torch.float64) for key, tensor in sparse.learned.items()}
    ones = torch.ones(sparse.out_features, dtype=torch.float64, device=sparse.weight.device)
    own = None if sparse.bias is None else sparse.bias.detach()
    if "b" in learned:
        own = learned["b"] if own is None else learned["b"] + own.to(torch.float64)
    return (ones + learned["a"] if "a" in learned else ones), own


def _folded(sparse: SparseLinear, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.nn.Linear:
    """The layer's weights times ``scale`` (O,), float64, and this bias."""
    weight = sparse.weight.detach().to(torch.float64) * scale[:, None]
    linear = torch.nn.Linear(sparse.in_features, sparse.out_features, bias=False, device="meta")
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        linear.bias = torch.nn.Parameter(bias, requires_grad=False)
    return linear


def largest_input(sparse: SparseLinear, tensors: Tensors) -> float:
    """The ``peak`` of ``MethodLinear``: bound of |x / s| and |z| on the calibration text, 0 if ``tensors`` lack it."""
    peak = tensors.get("peak")
    if peak is None:
        return 0.0
    largest = peak if sparse.stage.scale is None else peak / sparse.stage.scale.to(peak)
    shifted = largest if sparse.stage.shift is None else largest + sparse.stage.shift.detach().abs().to(peak)
    tokens = any(step.slot == "token shift" for step in sparse.steps)
    return float(shifted.max()) * (2 if tokens else 1)
