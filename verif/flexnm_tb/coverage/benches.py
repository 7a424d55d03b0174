"""Which designs are covered by which benches, and running them with Verilator's coverage, one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flexnm_gen.generate import render
from flexnm_model.cache import cache_dir, digest
from flexnm_rtl.config import Config, ConfigError, Metadata, ScoreFactor, Selector

from flexnm_tb.coverage import functional
from flexnm_tb.mutation.code import imports, outline
from flexnm_tb.run import COVERAGE_ARGS, COVERAGE_VARIABLE, simulate

_LINEAR = ("flexnm_tb.benches.linear", "flexnm_tb.benches.linear_errors", "flexnm_tb.benches.linear_registers")
_DECODE = ("flexnm_tb.benches.decode",)


@dataclass(frozen=True)
class Target:
    """A design and its benches. seeds: the benches run once with each."""

    name: str
    top: str
    cfg: Config
    benches: tuple[str, ...]
    wrapped: bool = False
    seeds: tuple[int, ...] = (1, 2, 3)

    @property
    def component(self) -> str:
        """What the table adds up over configurations."""
        return self.top


def _unit(top: str, name: str, cfg: Config) -> Target:
    return Target(f"{top} {name}", top, cfg, (f"flexnm_tb.benches.{top}",))


_N2M4 = Config(n_keep=2, m_group=4, rows=2, cols=3, lanes=1, k_max=24, t_max=7)
_METHODS = Config(
    n_keep=2, m_group=4, rows=2, cols=2, lanes=1, k_max=24, t_max=5, score_factor=ScoreFactor.MULTIPLY,
    static_shift=True, token_shift=True, variance=True, factor_width=4,
)  # fmt: skip
_DECODING = Config(n_keep=2, m_group=4, rows=2, lanes=2, k_max=40, bus_width=64, tile_beats=2, outstanding=3)
_INDEX = Config(n_keep=4, m_group=8, rows=2, cols=3, lanes=2, metadata=Metadata.INDEX, k_max=4096)

TARGETS = {
    target.name: target
    for target in (
        _unit("compressor", "n2m4", _N2M4),
        _unit("compressor", "n4m8-index-radix", _INDEX.replace(selector=Selector.RADIX)),
        _unit("compressor", "n4m8-rank2", _INDEX.replace(selector=Selector.RANK2)),
        _unit("compressor", "flexible-n8m8", Config(n_keep=8, m_group=8, flexible=True, rows=1, cols=2, lanes=8)),
        _unit("decompressor", "n4m8-index", _INDEX),
        _unit("dense_splitter", "n4m8-index", _INDEX),
        _unit("mac_array", "n4m8-index", _INDEX),
        Target("linear n2m4", "linear", _N2M4, _LINEAR, wrapped=True),
        Target("linear n2m4-methods", "linear", _METHODS, _LINEAR, wrapped=True),
        Target("decode n2m4", "decode", _DECODING, _DECODE, wrapped=True),
    )
}


def chosen(names: str) -> list[Target]:
    """The targets named, by their component or in full, separated by commas; all for an empty text.

    Raises ConfigError for a name that there is not.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {target.component for target in TARGETS.values()} | set(TARGETS)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"ONLY={name} is no design: choose from {', '.join(sorted(known))}")
    return [t for t in TARGETS.values() if not wanted or t.name in wanted or t.component in wanted]


def run(target: Target, *, fresh: bool, advance: Callable[[], None]) -> tuple[list[Path], dict[str, list[str]]]:
    """Verilator's coverage files of a target, one for each seed, and its Verilog, lines by file name. Beside each file
    is the functional coverage of the run, with the suffix ``.xml``.

    What was run before, with the same Verilog and benches, is not run again.

    Raises BenchError when a test fails.
    """
    name, texts = render(target.top, target.cfg)
    files = [f"{name}.v", f"{name}_axi.v"] if target.wrapped else [f"{name}.v"]
    paths = {path for bench in target.benches for path in imports(bench).values()}
    code = [outline(path) for path in sorted(paths | {Path(functional.__file__)})]
    key = digest([texts[file] for file in files], code, target.benches, COVERAGE_ARGS)
    folder = cache_dir() / "coverage" / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for seed in target.seeds:
        kept = folder / f"seed{seed}.dat"
        if fresh or not (kept.exists() and kept.with_suffix(".xml").exists()):
            with _covering(folder):
                simulate(
                    target.top, target.cfg, ",".join(target.benches), name=f"s{seed}", seed=seed, wrapped=target.wrapped
                )
            for suffix in (".xml", ".dat"):
                _only(list(folder.glob(f"*-s{seed}{suffix}")), name).replace(kept.with_suffix(suffix))
        results.append(kept)
        advance()
    return results, {file: texts[file].splitlines() for file in files}


def _only(files: Sequence[Path], name: str) -> Path:
    if len(files) != 1:
        raise ConfigError(f"{name}: the run left {len(files)} coverage files, not one: is it a build with coverage?")
    return files[0]


@contextmanager
def _covering(folder: Path) -> Iterator[None]:
    """Simulations in this block write their coverage to ``folder``."""
    before = os.environ.get(COVERAGE_VARIABLE)
    os.environ[COVERAGE_VARIABLE] = str(folder.resolve())
    try:
        yield
    finally:
        os.environ.pop(COVERAGE_VARIABLE)
        if before is not None:
            os.environ[COVERAGE_VARIABLE] = before
