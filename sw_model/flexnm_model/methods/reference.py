"""The methods in slow, obvious Python on lists of floats: what ``methods.layer`` is compared with.

Formulas: arXiv 2509.22166; order: ``methods.layer``. A matrix is a list of rows: x of tokens (T x K), w of outputs
(O x K). Tensors of a layer go by the names of ``methods.parameters``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from flexnm_model.reference import pad_token, select

Row = list[float]
Matrix = list[Row]


def statistics(x: Matrix) -> dict[str, Row]:
    """norm, mean and peak of each channel of a calibration text x (T x K)."""
    columns = list(zip(*x, strict=True))
    return {
        "norm": [math.sqrt(sum(v * v for v in column)) for column in columns],
        "mean": [sum(column) / len(column) for column in columns],
        "peak": [max(abs(v) for v in column) for column in columns],
    }


def variance(values: Sequence[float]) -> float:
    """Population variance."""
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / len(values)


def quantile(values: Sequence[float], share: float) -> float:
    """Between the two nearest of the sorted values, linearly."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def factors(score: str, w: Matrix, norm: Row) -> Row:
    """f_j of every channel. norm: ||X_:j||_2 of the calibration text, for clact."""
    columns = list(zip(*w, strict=True))
    if score == "clact":
        return norm
    if score == "variance":
        return [variance(column) for column in columns]
    if score == "amber":
        every = [v for row in w for v in row]
        low, high = quantile(every, 0.005), quantile(every, 0.995)
        inner = [v for v in every if low <= v <= high]
        mean, std = sum(inner) / len(inner), math.sqrt(variance(inner)) or 1.0
        norms = [math.sqrt(sum(((v - mean) / std) ** 2 for v in column)) for column in columns]
        return [n / min(norms) for n in norms] if min(norms) > 0 else norms
    return [1.0] * len(columns)


def mask(pattern: str, scores: Row) -> list[bool]:
    """Kept channels of one token under ``8:16``, ``50%``, or anything that prunes no activations."""
    if pattern.endswith("%"):
        return select(scores, max(1, math.floor(len(scores) * int(pattern[:-1]) / 100 + 0.5)))
    if not pattern[0].isdigit():
        return [True] * len(scores)
    n, m = map(int, pattern.split(":"))
    kept = [keep for block in pad_token(scores, m) for keep in select(block, n)]
    return kept[: len(scores)]


def token_shift(names: Sequence[str], z: Row) -> float:
    """eta_t of one token."""
    if "d-pts" in names:
        return sum(z) / len(z)
    if "d-pts-median" in names:
        return sorted(z)[(len(z) - 1) // 2]
    return 0.0


def scale(w: Matrix, peak: Row) -> Row:
    """s_j of ``scaling``."""
    largest = [max(abs(v) for v in column) for column in zip(*w, strict=True)]
    return [math.sqrt(p / v) if p > 0 and v > 0 else 1.0 for p, v in zip(peak, largest, strict=True)]


def product(row: Row, matrix: Matrix) -> Row:
    """``row matrix^T``."""
    return [math.fsum(a * b for a, b in zip(row, other, strict=True)) for other in matrix]


def sparse_linear(
    x: Matrix,
    w: Matrix,
    bias: Row | None,
    pattern: str,
    score: str = "act",
    names: Sequence[str] = (),
    tensors: Mapping[str, Row] | None = None,
    low_rank: tuple[Matrix, Matrix] | None = None,
    refitted: Matrix | None = None,
) -> Matrix:
    """y (T x O). names: of the mitigations. low_rank: A (O x r), B (r x K). refitted: the weights of ``refit``."""
    known = tensors or {}
    channels, outputs = len(w[0]), len(w)
    zeros = [0.0] * channels
    s = scale(w, known["peak"]) if "scaling" in names else [1.0] * channels
    w = [[v * f for v, f in zip(row, s, strict=True)] for row in w]
    norm = [v / f for v, f in zip(known.get("norm", zeros), s, strict=True)]
    f = factors(score, w, norm)
    eta = zeros
    if "s-pts" in names:
        eta = [v / factor for v, factor in zip(known["mean"], s, strict=True)]
    if "l-pts" in names:
        eta = known["eta"]
    w = refitted or w
    if pattern.startswith("w"):
        w = [[v if keep else 0.0 for v, keep in zip(row, mask(pattern[1:], row), strict=True)] for row in w]
    a = known["a"] if {"ls", "ls-scale"} & set(names) else [0.0] * outputs
    b = known["b"] if "ls" in names else [0.0] * outputs
    result = []
    for token in x:
        z = [v / s_j - shift for v, s_j, shift in zip(token, s, eta, strict=True)]
        shift_t = token_shift(names, z)
        z = [v - shift_t for v in z]
        kept = mask(pattern, [v * factor for v, factor in zip(z, f, strict=True)])
        pruned = [v if keep else 0.0 for v, keep in zip(z, kept, strict=True)]
        gain = 1.0
        if "var" in names and variance(pruned) > 0:
            gain = math.sqrt(variance(z) / variance(pruned))
        y = [gain * v for v in product(pruned, w)]
        y = [v + back + shift_t * sum(row) for v, back, row in zip(y, product(eta, w), w, strict=True)]
        if low_rank is not None:
            dropped = [v - p for v, p in zip(z, pruned, strict=True)]
            y = [v + r for v, r in zip(y, product(product(dropped, low_rank[1]), low_rank[0]), strict=True)]
        y = [v * (1 + factor) + offset for v, factor, offset in zip(y, a, b, strict=True)]
        result.append([v + own for v, own in zip(y, bias or [0.0] * outputs, strict=True)])
    return result
