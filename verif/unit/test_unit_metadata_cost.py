"""bench/metadata_cost.py: what it measures encodes and decodes, of every format, and bad files give one line."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flexnm_model.reference import pack
from flexnm_rtl.config import Config, Metadata
from unit_tools import simulate

SCRIPT = Path(__file__).parents[2] / "bench" / "metadata_cost.py"


def load() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("flexnm_bench_metadata_cost", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(SCRIPT.parent))  # as when it runs as a script
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return module


bench = load()


def through(unit: Any, source: Any, result: Any, words: list[int]) -> list[int]:
    """What each word becomes, all stages enabled."""
    received = []

    async def testbench(ctx: Any) -> None:
        ctx.set(unit.enable, -1)
        for word in words:
            ctx.set(source, word)
            for _ in range(unit.latency):
                await ctx.tick()
            received.append(ctx.get(result))

    simulate(unit, testbench)
    return received


@pytest.mark.parametrize("metadata", list(Metadata))
@pytest.mark.parametrize("n, m", [(2, 4), (3, 7), (8, 16)])
def test_what_is_measured_encodes_and_decodes(n: int, m: int, metadata: Metadata) -> None:
    cfg = Config(n_keep=n, m_group=m, lanes=1, metadata=metadata)
    rng = random.Random(m)
    masks = [[i in chosen for i in range(m)] for chosen in (rng.sample(range(m), n) for _ in range(30))]
    bits = [pack(mask, Metadata.BITMASK) for mask in masks]
    words = [pack(mask, metadata) for mask in masks]
    encoder, decoder = bench.encoder(cfg), bench.decoder(cfg)
    ranked = metadata is Metadata.ENUMERATIVE
    ports = (encoder.mask, encoder.word) if ranked else (encoder.source, encoder.result)
    assert through(encoder, *ports, bits) == words
    ports = (decoder.word, decoder.mask) if ranked else (decoder.source, decoder.result)
    assert through(decoder, *ports, words) == bits


def test_everything_is_measured() -> None:
    cases = [(case.cfg.pattern, case.cfg.metadata, case.unit) for case in bench.cases()]
    assert len(cases) == len(set(cases)) == 4 * len(Metadata) * 4


def test_a_missing_library_gives_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--liberty", "no.lib"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: LIBERTY=no.lib: No such file")
    assert done.stderr.count("\n") == 1
