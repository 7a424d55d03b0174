"""What the benches have tried: pattern, pauses, activations and error of each job, crossed, by cocotb-coverage.

A bench calls ``begin`` with the activations that it is about to send, and ``end`` with what came of them. Without
FLEXNM_COVERAGE nothing happens; with it, a run leaves ``<module at the top>-<name>.xml`` in that folder.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from flexnm_rtl.config import Config, ScoreFactor

from flexnm_tb.context import Context

DENSE, COMPRESSED, METHODS = "dense", "compressed", "methods"
TIES = "ties"
VALUES = ("all zero", "all equal", "most negative", TIES, "K mod M", "random")
"""Kinds of tokens: 0 only; one other number only; with the most negative one; with an N-th magnitude that the next one
equals, in a token of several numbers; K not a multiple of M; none of these. A token may be of several kinds."""
_PAUSES = ("none", "in", "out", "in and out")
_MEMORY = ("none", "streams", "memory", "streams and memory")
_ENGINE = ("none", "short", "long", "abort", "reset", "second start")
_ERRORS = {"linear": _ENGINE, "decode": (*_ENGINE, "bus error", "outside")}
_FLAGS = {
    "acts_short": "short", "weights_short": "short", "acts_long": "long", "weights_long": "long", "aborted": "abort",
    "bus_error": "bus error", "not_ready": "second start",
}  # fmt: skip
_SELECTING = ("compressor", "linear", "decode")


@dataclass(frozen=True)
class Job:
    """Bins of a job, all but the error."""

    pattern: str
    stall: str
    values: frozenset[str]


_open: list[tuple[str, Config, Job]] = []
_Sample = Callable[[Job, str], None]
_Decorator = Callable[[_Sample], _Sample]


def patterns(top: str, cfg: Config) -> list[str]:
    """Bins of patterns of a unit. A flexible one's: the least, the most, and any other N for each M."""
    own = f"{cfg.n_keep}:{cfg.m_group}"
    if top == "dense_splitter":
        return [DENSE]
    if top == "decode":
        return [own, f"other:{cfg.m_group}", DENSE]
    fixed = [_label(cfg, n, m) for m in cfg.groups for n in range(1, cfg.most_kept(m) + 1)] if cfg.flexible else [own]
    if top == "linear":
        methods = cfg.score_factor is not ScoreFactor.NONE or cfg.static_shift or cfg.token_shift or cfg.variance
        kinds = [COMPRESSED, METHODS] if methods else [COMPRESSED]
        return [*dict.fromkeys(fixed), *(f"{p} {kind}" for kind in kinds for p in dict.fromkeys(fixed)), DENSE]
    return [*dict.fromkeys(fixed), DENSE] if top == "mac_array" else [*dict.fromkeys(fixed)]


def ignored(top: str, cfg: Config) -> dict[tuple[str, str], str]:
    """Pattern and kind of token that cannot meet, with the reason."""
    reasons = {}
    for name in patterns(top, cfg):
        n, _, m = name.partition(" ")[0].partition(":")
        if top not in _SELECTING or name == DENSE or name.endswith(COMPRESSED):
            reasons[name, TIES] = "nothing is selected"
        elif name.endswith(METHODS):
            reasons[name, TIES] = "scores decide, not magnitudes"
        elif n == m:
            reasons[name, TIES] = "nothing is dropped"
    return reasons


def _label(cfg: Config, n: int, m: int) -> str:
    most = cfg.most_kept(m)
    return f"{n}:{m}" if n in (1, most) else f"other:{m}"


def begin(
    ctx: Context, stalled: Collection[str], x: torch.Tensor, pattern: tuple[int, int] | None = None, kind: str = ""
) -> None:
    """A job, or a token, is sent. stalled: of idle, backpressure, memory, those that pause. x: (T, K) or (K,) integers.
    pattern: N and M, the design's if left out. kind: DENSE, COMPRESSED or METHODS.
    """
    if not os.environ.get("FLEXNM_COVERAGE"):
        return
    top, cfg = str(ctx.manifest["top"]), ctx.cfg
    n, m = pattern or (cfg.n_keep, cfg.m_group)
    if kind == DENSE or top == "dense_splitter":
        name = DENSE
    else:
        label = _label(cfg, n, m) if cfg.flexible else f"{n if n == cfg.n_keep else 'other'}:{m}"
        name = f"{label} {kind}".strip()
    where = (("memory" in stalled) * 2 if top == "decode" else ("backpressure" in stalled) * 2) + ("idle" in stalled)
    values = token_kinds(x if x.dim() > 1 else x.unsqueeze(0), n, m, cfg.act_width)
    if (name, TIES) in ignored(top, cfg):
        values = values - {TIES} or {"random"}
    _open.append((top, cfg, Job(name, stalls(top)[where], frozenset(values))))


def end(flags: Iterable[str] = ()) -> None:
    """What was begun has ended. flags: error flags of the engine, or ``reset``; none of them for a good job. One with
    a flag of which there is no bin, such as a refused start, does not count.
    """
    found = {_FLAGS.get(flag, flag) for flag in flags} or {"none"}
    for top, cfg, job in _open:
        for error in errors(top):
            if error in found:
                _sampler(top, cfg)(job, error)
    _open.clear()


def stalls(top: str) -> tuple[str, ...]:
    """Bins of pauses of a unit."""
    return _MEMORY if top == "decode" else _PAUSES


def errors(top: str) -> tuple[str, ...]:
    """Bins of what becomes of a job of a unit."""
    return _ERRORS.get(top, ("none", "reset"))


def token_kinds(x: torch.Tensor, n: int, m: int, width: int) -> set[str]:
    """Kinds of the tokens of x (T, K), integers of ``width`` bits, under N:M; see ``VALUES``."""
    tokens = x.to(torch.int64)
    zero = (tokens == 0).all(1)
    equal = (tokens == tokens[:, :1]).all(1) & (x.shape[1] > 1)
    lowest = (tokens == -(1 << (width - 1))).any(1)
    ties = torch.zeros_like(zero)
    if n < m:
        blocks = torch.nn.functional.pad(tokens.abs(), (0, -x.shape[1] % m)).reshape(x.shape[0], -1, m)
        ranked = blocks.sort(2, descending=True).values
        ties = ((ranked[..., n - 1] == ranked[..., n]) & (ranked[..., n] > 0)).any(1) & ~equal
    ragged = torch.full_like(zero, bool(x.shape[1] % m))
    kinds = dict(zip(VALUES, (zero, equal & ~zero, lowest, ties, ragged), strict=False))
    kinds["random"] = ~torch.stack(list(kinds.values())).any(0)
    return {name for name, found in kinds.items() if bool(found.any())}


@cache
def _sampler(top: str, cfg: Config) -> _Sample:
    """Takes a job and its error into account. The first call makes the bins, and has them written at exit."""
    from cocotb_coverage.coverage import CoverCross, CoverPoint, coverage_db, coverage_section

    names = {axis: f"{top}.{axis}" for axis in ("pattern", "stall", "value", "error")}
    never = list(ignored(top, cfg))

    def cross(name: str, *axes: str) -> CoverCross:
        pairs = [{"pattern": pattern, "value": value} for pattern, value in never] if "value" in axes else []
        wrong = [tuple(pair.get(axis) for axis in axes) for pair in pairs]
        return CoverCross(f"{top}.{name}", items=[names[axis] for axis in axes], ign_bins=wrong)

    bins: _Decorator = coverage_section(
        CoverPoint(names["pattern"], xf=lambda job, error: job.pattern, bins=patterns(top, cfg)),
        CoverPoint(names["stall"], xf=lambda job, error: job.stall, bins=list(stalls(top))),
        CoverPoint(
            names["value"], xf=lambda job, error: job.values, rel=lambda values, bin_: bin_ in values,
            bins=list(VALUES), inj=False,
        ),
        CoverPoint(names["error"], xf=lambda job, error: error, bins=list(errors(top))),
        cross("data", "pattern", "stall", "value"),
        cross("outcomes", "pattern", "stall", "error"),
        cross("all", "pattern", "stall", "value", "error"),
    )  # fmt: skip
    run = Path(os.environ.get("COCOTB_RESULTS_FILE", "run.xml")).stem
    module = os.environ.get("COCOTB_TOPLEVEL", top)
    file = Path(os.environ["FLEXNM_COVERAGE"], f"{module}-{run}.xml")
    atexit.register(lambda: coverage_db.export_to_xml(str(file)))
    return bins(lambda job, error: None)
