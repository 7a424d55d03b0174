"""Source text of the Triton kernels of ``gpu``: the selection network of a pattern, unrolled.

Triton has no arrays of registers, so the comparators of ``select.network`` are written out, one variable a channel.
"""

from __future__ import annotations

from collections.abc import Sequence

from flexnm_model.select import network

_HEAD = '''"""Made by flexnm_model.gpu_source for {n}:{m}. A 32-bit word holds two channels, the even one lowest."""

import triton
import triton.language as tl


@triton.jit
def kernel(source, values, masks, nans, count, infinity, blocks: tl.constexpr):
    block = tl.program_id(0) * blocks + tl.arange(0, blocks)
    inside = block < count
    first = block.to(tl.int64)
    tile = tl.load(source + first[:, None] * {words} + tl.arange(0, {words})[None, :], mask=inside[:, None], other=0)
'''


def source(n: int, m: int, *, compress: bool) -> str:
    """A module whose ``kernel`` compresses (or only prunes) blocks of ``m`` 16-bit floats. m: a power of two from 4 up;
    n: to compress, a power of two from 2 up.

    The kernel's arguments: int32 words of the blocks, int32 words for what is kept, masks (not used when pruning), a
    flag that is set for NaN, number of blocks, magnitude bits of infinity, blocks of a program.
    """
    lines = [
        *_taken_apart("tile", [f"w{i}" for i in range(m // 2)]),
        *(line for i in range(m) for line in _key(i)),
        *(f"s{i} = k{i}" for i in range(m)),
        *_threshold(n, m),
        *(f"c{i} = k{i} >= threshold" for i in range(m)),
        *(_compressed(n, m) if compress else _pruned(m)),
        f"largest = {_tree([f'k{i}' for i in range(m)], 'tl.maximum')}",
        "if tl.max(largest, axis=0) >= (infinity + 1) * 32:",
        "    tl.store(nans, 1)",
    ]
    return _HEAD.format(n=n, m=m, words=m // 2) + "".join(f"    {line}\n" for line in lines)


def _key(i: int) -> list[str]:
    """Magnitude and reversed index: no two channels of a block are equal."""
    magnitude = f"(w{i // 2} >> 16) & 0x7FFF" if i % 2 else f"w{i // 2} & 0x7FFF"
    return [f"k{i} = ({magnitude}) * 32 + {31 - i}"]


def _threshold(n: int, m: int) -> list[str]:
    """The N-th largest of two sorted halves: ``select.nth_largest``."""
    half = m // 2
    lines = []
    for side in range(2):
        for high, low, need_low in network(half, min(n, half)):
            a, b = f"s{side * half + high}", f"s{side * half + low}"
            lines.append(f"larger = tl.maximum({a}, {b})")
            if need_low:
                lines.append(f"{b} = tl.minimum({a}, {b})")
            lines.append(f"{a} = larger")
    terms = [f"tl.minimum(s{i - 1}, s{half + n - i - 1})" for i in range(max(1, n - half), min(n - 1, half) + 1)]
    terms += [f"s{n - 1}", f"s{half + n - 1}"] if n <= half else []
    return [*lines, f"threshold = {_tree(terms, 'tl.maximum')}"]


def _compressed(n: int, m: int) -> list[str]:
    """Kept values move to the lowest places, highest channel first; a place can only come from M-N+1 channels."""
    lines = [f"o{j} = w0 * 0" for j in range(n)]
    for i in reversed(range(m)):
        value = f"(w{i // 2} >> 16)" if i % 2 else f"w{i // 2}"
        reachable = [j for j in range(n) if j <= m - 1 - i]
        lines += [f"o{j} = tl.where(c{i}, {f'o{j - 1}' if j else value}, o{j})" for j in reversed(reachable)]
    lines += [f"p{j} = (o{2 * j} & 0xFFFF) | (o{2 * j + 1} << 16)" for j in range(n // 2)]
    marks = [f"tl.where(c{i}, {_word(1 << i)}, 0)" for i in range(m)]
    return [
        *lines,
        *_stored([f"p{j}" for j in range(n // 2)]),
        f"tl.store(masks + block, ({_tree(marks, '|')}).to(masks.dtype.element_ty), mask=inside)",
    ]


def _pruned(m: int) -> list[str]:
    lines = [
        f"p{j} = w{j} & (tl.where(c{2 * j}, 0xFFFF, 0) | tl.where(c{2 * j + 1}, {_word(0xFFFF0000)}, 0))"
        for j in range(m // 2)
    ]
    return [*lines, *_stored([f"p{j}" for j in range(m // 2)])]


def _word(bits: int) -> int:
    """32 bits as a signed number: a larger constant would make the arithmetic 64 bits wide."""
    return bits - (1 << 32) if bits >> 31 else bits


def _taken_apart(name: str, words: Sequence[str]) -> list[str]:
    """``name`` (blocks, words) as one variable a word."""
    if len(words) == 1:
        return [f"{words[0]} = tl.reshape({name}, [blocks])"]
    halves = [f"{name}_0", f"{name}_1"]
    lines = [f"{', '.join(halves)} = tl.split(tl.reshape({name}, [blocks, {len(words) // 2}, 2]))"]
    return lines + [line for side, half in enumerate(halves) for line in _taken_apart(half, words[side::2])]


def _stored(words: Sequence[str]) -> list[str]:
    """Store one variable a word side by side."""
    count = len(words)
    places = f"first[:, None] * {count} + tl.arange(0, {count})[None, :]"
    return [
        f"packed = tl.reshape({_joined(words)}, [blocks, {count}])",
        f"tl.store(values + {places}, packed, mask=inside[:, None])",
    ]


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"tl.join({_joined(words[::2])}, {_joined(words[1::2])})"


def _tree(terms: Sequence[str], function: str) -> str:
    """Terms combined in pairs."""
    if len(terms) == 1:
        return terms[0]
    a, b = _tree(terms[::2], function), _tree(terms[1::2], function)
    return f"({a} {function} {b})" if function == "|" else f"{function}({a}, {b})"
