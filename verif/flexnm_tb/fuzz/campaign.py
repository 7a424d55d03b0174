"""The fuzz campaign: chunks of cases that Hypothesis draws from a seed, kept in the cache, failures shrunk."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flexnm_model
import hypothesis
import torch
from flexnm_gen.files import write_files
from flexnm_model.cache import cache_dir, digest
from flexnm_model.driver import DeviceError
from flexnm_rtl.config import ConfigError
from hypothesis import HealthCheck, Phase, Verbosity, given, settings

import flexnm_tb
from flexnm_tb.cosim.decoder import SimulatedDecoder
from flexnm_tb.cosim.engine import SimulatedEngine
from flexnm_tb.cosim.library import build_library
from flexnm_tb.fuzz.case import FuzzError, Step, from_json, steps, to_json
from flexnm_tb.fuzz.configs import CONFIGS, LINEAR
from flexnm_tb.fuzz.decode import DecodeRunner
from flexnm_tb.fuzz.linear import LinearRunner

CASES = 25
"""Cases of a chunk."""

AnyRunner = LinearRunner | DecodeRunner
Advance = Callable[[str, int], None]
"""Called with the configuration and the jobs done."""


@dataclass(frozen=True)
class Failure:
    """A case, already shrunk, that went wrong in a chunk of the campaign with ``seed``."""

    config: str
    seed: int
    chunk: int
    message: str
    case: list[dict[str, Any]]


@dataclass
class Outcome:
    """counts: by configuration, see ``Runner``. cached: chunks from an earlier run. seconds: of new ones."""

    seed: int
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    chunks: int = 0
    cached: int = 0
    seconds: float = 0.0
    failure: Failure | None = None

    @property
    def jobs(self) -> int:
        """Jobs, bad and good ones."""
        return sum(counts["jobs"] for counts in self.counts.values())


def check_configs(configs: Sequence[str]) -> None:
    """Raises ConfigError for a name that is not in ``CONFIGS``, and for no name at all."""
    unknown = [config for config in configs if config not in CONFIGS]
    if unknown or not configs:
        what = f"no configuration {unknown[0]} to fuzz" if unknown else "no configuration is named"
        raise ConfigError(f"{what}: choose of {', '.join(CONFIGS)}")


def make_runner(config: str) -> AnyRunner:
    """The runner of a configuration; builds its engine if need be. Raises ConfigError, VerilatorError."""
    check_configs([config])
    cfg = CONFIGS[config]
    if config in LINEAR:
        return LinearRunner(cfg, SimulatedEngine(cfg))
    return DecodeRunner(cfg, SimulatedDecoder(cfg))


def replay(config: str, case: list[Step]) -> str | None:
    """Run one case; what is wrong, or None."""
    runner = make_runner(config)
    try:
        runner.run(case)
    except (FuzzError, DeviceError) as error:
        return str(error)
    finally:
        runner.unit.close()
    return None


def run_chunk(runner: AnyRunner, config: str, seed: int, chunk: int) -> tuple[Counter[str], Failure | None]:
    """The cases of a chunk: counts, and the shrunk failure if there is one."""
    failed: dict[str, Any] = {}
    runner.counts = Counter()

    @hypothesis.seed(int(digest(config, seed, chunk), 16))
    @settings(
        max_examples=CASES, database=None, deadline=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False, verbosity=Verbosity.quiet,
    )  # fmt: skip
    @given(case=steps(runner.kinds))
    def run(case: list[Step]) -> None:
        try:
            runner.run(case)
        except (FuzzError, DeviceError) as error:
            if not failed:
                failed["counts"] = runner.counts.copy()
            failed["message"], failed["case"] = str(error), to_json(case)
            raise FuzzError(str(error)) from None

    try:
        run()
    except (FuzzError, hypothesis.errors.Flaky):
        case, message = _shortest(runner, from_json(failed["case"]), failed["message"])
        return failed["counts"], Failure(config, seed, chunk, message, to_json(case))
    return runner.counts, None


def _shortest(runner: AnyRunner, case: list[Step], message: str) -> tuple[list[Step], str]:
    """The case without the steps that it does not need: Hypothesis shrinks numbers better than it drops steps."""
    for index in reversed(range(len(case))):
        shorter = case[:index] + case[index + 1 :]
        try:
            runner.run(shorter)
        except (FuzzError, DeviceError) as error:
            case, message = shorter, str(error)
    return case, message


def run_campaign(
    jobs: int,
    seed: int,
    configs: Sequence[str] = tuple(CONFIGS),
    *,
    fresh: bool = False,
    advance: Advance = lambda config, jobs: None,
) -> Outcome:
    """Chunks of all configurations in turn until so many jobs are done or one case fails.

    Finished chunks are kept in the cache, by code, engine, seed and number. Raises ConfigError, VerilatorError.
    """
    check_configs(configs)
    torch.set_num_threads(1)  # the matrices are tiny
    outcome, code = Outcome(seed), code_digest()
    runners: dict[str, AnyRunner] = {}
    keys: dict[str, str] = {}
    try:
        for chunk, config in ((chunk, config) for chunk in itertools.count() for config in configs):
            if outcome.jobs >= jobs or outcome.failure:
                return outcome
            advance(config, outcome.jobs)
            if config not in keys:
                top = "linear" if config in LINEAR else "decode"
                keys[config] = build_library(top, CONFIGS[config]).stem
            file = f"{digest(code, keys[config], config, seed, chunk, CASES)}.json"
            counts = None if fresh else _kept(file)
            if counts is None:
                if config not in runners:
                    runners[config] = make_runner(config)
                begun = time.perf_counter()
                counts, outcome.failure = run_chunk(runners[config], config, seed, chunk)
                outcome.seconds += time.perf_counter() - begun
                if outcome.failure is None:
                    write_files(cache_dir() / "fuzz", {file: json.dumps(counts) + "\n"})
            else:
                outcome.cached += 1
            outcome.chunks += 1
            outcome.counts.setdefault(config, Counter()).update(counts)
    finally:
        for runner in runners.values():
            runner.unit.close()
    return outcome


def load_failure(path: Path) -> tuple[str, list[Step]]:
    """Configuration and case of a file that a failing campaign wrote. Raises ConfigError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["config"]), from_json(content["case"])
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): name a failed.json of flexnm fuzz") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is no case of flexnm fuzz: name a failed.json that it wrote") from None


def _kept(file: str) -> Counter[str] | None:
    """Counts of a finished chunk; a damaged file is only lost time."""
    try:
        counts = json.loads((cache_dir() / "fuzz" / file).read_text(encoding="utf-8"))
        return Counter({str(name): int(count) for name, count in counts.items()})
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def code_digest() -> str:
    """Digest of the code that decides what a chunk does: fuzz, driver of the simulation, software model."""
    bench, model = Path(flexnm_tb.__file__).parent, Path(flexnm_model.__file__).parent
    names = ("fuzz/*.py", "cosim/*", "engine_*.py", "stimuli.py")
    files = [*(file for name in names for file in bench.glob(name)), *model.glob("*.py")]
    return digest(*(file.read_bytes() for file in sorted(files) if file.is_file()))
