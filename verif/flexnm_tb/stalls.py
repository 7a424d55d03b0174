"""When a stream end pauses: endless iterators of booleans, True for a cycle of pause."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator


def never() -> Iterator[bool]:
    """No pause at all."""
    return itertools.repeat(False)


def bursts(rng: random.Random, share: float = 0.4, longest: int = 5) -> Iterator[bool]:
    """Runs of 1 to ``longest`` equal cycles; about ``share`` of the runs are pauses."""
    while True:
        pause = rng.random() < share
        yield from itertools.repeat(pause, rng.randint(1, longest))


def choose(stalled: bool, rng: random.Random) -> Iterator[bool]:
    """``bursts`` or ``never``."""
    return bursts(rng) if stalled else never()
