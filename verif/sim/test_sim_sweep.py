"""Sweeps: what is kept, interruptions, failures, a Dask cluster. Grid and page have test files of their own."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import flexnm_tb.sweep.run as running
import pytest
from flexnm_gen import synth
from flexnm_gen.cli import run
from flexnm_rtl.config import ConfigError
from flexnm_tb.known_cells import LIBRARY
from flexnm_tb.sweep.environment import Environment, Settings, environments
from flexnm_tb.sweep.grid import Axes
from flexnm_tb.sweep.store import COLUMNS, FAILED, INVALID, MEASURED, Row, Store, point_key
from sweep_fakes import GRID, broken, counted, elsewhere, fake, killed, until

Found = tuple[Settings, dict[str, Environment]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells of constant delays."""
    path = tmp_path_factory.mktemp("library") / "known.lib"
    path.write_text(LIBRARY)
    return path


@pytest.fixture(scope="module")
def found(library: Path) -> Found:
    """Settings with that library, and their environment."""
    settings = Settings((library,))
    return settings, environments(["asic"], settings)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A folder that counts measurements."""
    folder = tmp_path / "calls"
    folder.mkdir()
    return folder


def table(file: Path) -> list[sqlite3.Row]:
    """The rows on disk, as another program sees them."""
    connection = sqlite3.connect(file)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute("SELECT * FROM points").fetchall()
    finally:
        connection.close()


def test_keys_depend_on_everything(library: Path, found: Found) -> None:
    """Another point, clock rate or library is another row."""
    settings, first = found
    point, other = Axes.parse(**GRID).points()[:2]
    faster = environments(["asic"], dataclasses.replace(settings, clock_ps=1000.0))
    slower = library.with_name("slower.lib")
    slower.write_text(LIBRARY + "\n")
    changed = environments(["asic"], Settings((slower,)))
    keys = [point_key(other, first["asic"]), *(point_key(point, e["asic"]) for e in (first, faster, changed))]
    assert len(set(keys)) == 4
    assert point_key(point, environments(["asic"], settings)["asic"]) == keys[1]


def test_second_run_measures_nothing(found: Found, calls: Path, tmp_path: Path) -> None:
    """Rows come from the table, and a larger grid costs only what is new."""
    settings, shared = found
    points = Axes.parse(**GRID).points()
    how = partial(running.sweep, environments=shared, settings=settings, jobs=2, measure=partial(counted, calls=calls))
    with Store(tmp_path / "s.sqlite") as store:
        first = how(points[2:], store=store)
        assert (first.measured, len(list(calls.iterdir()))) == (9, 8)
        again = how(points[2:], store=store)
        assert (again.measured, again.rows) == (0, first.rows)
        full = how(points, store=store)
    assert full.measured == 2
    assert len(list(calls.iterdir())) == 10
    assert [row.key for row in full.rows] == [point_key(point, shared["asic"]) for point in points]
    assert [row.status for row in full.rows] == [MEASURED] * 9 + [INVALID, MEASURED]
    assert full.rows[-2].reason == "LANES=2 does not divide N=3: choose one of 1, 3"
    row = full.rows[0]  # 2:4 by rank: 4 channels a cycle at 960 MHz on 400 um2
    assert (row.selector, row.elements_per_cycle, row.gelements_per_s, row.area_per_element) == ("rank", 4, 3.84, 100)
    assert (full.rows[-1].lanes, full.rows[-1].array, full.rows[-1].elements_per_cycle) == (3, "1x2", 16)
    assert {tuple(r) for r in table(tmp_path / "s.sqlite")} == {dataclasses.astuple(row) for row in full.rows}


INTERRUPTED = """
import signal
import sys
from functools import partial
from pathlib import Path
import flexnm_tb.sweep.run as running
from flexnm_gen.cli import run
from sweep_fakes import counted
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if the tests run in the background of a shell
running.sweep = partial(running.sweep, measure=partial(counted, calls=Path(sys.argv[1]), pause=0.4))
sys.exit(run(["sweep", *sys.argv[2:]]))
"""


def test_interruption(found: Found, library: Path, calls: Path, tmp_path: Path) -> None:
    """Ctrl-C ends the command soon, what was there stays there, and the next run does only the rest."""
    settings, shared = found
    args = [word for name, text in GRID.items() for word in (f"--{name}", text)]
    command = [sys.executable, "-c", INTERRUPTED, str(calls), *args, "--liberty", str(library), "--jobs", "1"]
    here = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    file = tmp_path / "out" / "sweep.sqlite"
    process = subprocess.Popen([*command, "--out", str(file.parent)], env=here, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    try:
        until(lambda: file.exists() and len(table(file)) >= 2)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, errors.splitlines()[-1]) == (130, "flexnm: error: interrupted")
    assert not (file.parent / "sweep.html").exists()
    kept = len(table(file))
    assert 2 <= kept < 9
    done = len(list(calls.iterdir()))
    with Store(file) as store:
        outcome = running.sweep(
            Axes.parse(**GRID).points(), shared, settings, store, jobs=1, measure=partial(counted, calls=calls)
        )
    assert outcome.measured == 11 - kept
    assert len(list(calls.iterdir())) == done + 10 - kept
    assert len(table(file)) == 11


def test_failed_point(
    library: Path, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are measured, one line names it, exit status 1; the next run tries it again, and it alone."""
    args = [word for name, text in GRID.items() for word in (f"--{name}", text)]
    command = ["sweep", *args, "--tops", "compressor", "--liberty", str(library), "--out", str(tmp_path)]
    original = running.sweep
    monkeypatch.setattr(running, "sweep", partial(original, measure=partial(broken, calls=calls)))
    assert run([*command, "--jobs", "1"]) == 1
    output = capsys.readouterr()
    failed = [line for line in output.err.splitlines() if line.startswith("flexnm")]
    assert failed == [
        "flexnm: error: 2 points failed: compressor 4:8 auto bitmask on asic: RuntimeError: Yosys burnt down; "
        "compressor 4:8 radix bitmask on asic: RuntimeError: Yosys burnt down"
    ]
    rows = table(tmp_path / "sweep.sqlite")
    assert sorted((row["pattern"], row["status"]) for row in rows) == sorted(
        [("2:4", MEASURED), ("3:8", MEASURED), ("4:8", FAILED)] * 2
    )
    assert "Yosys burnt down" in (tmp_path / "sweep.html").read_text()
    number = len(list(calls.iterdir()))
    monkeypatch.setattr(running, "sweep", partial(original, measure=partial(counted, calls=calls)))
    assert run([*command, "--jobs", "1"]) == 0
    assert len(list(calls.iterdir())) == number + 2
    assert {row["status"] for row in table(tmp_path / "sweep.sqlite")} == {MEASURED}


def test_killed_worker(found: Found, tmp_path: Path) -> None:
    """Its rows are missing, those that were there stay, and a line says what happened."""
    settings, shared = found
    points = Axes.parse(**GRID).points()
    with Store(tmp_path / "s.sqlite") as store:
        first = running.sweep(points[:1], shared, settings, store, jobs=2, measure=fake)
        with pytest.raises(ConfigError, match="a worker was killed, perhaps for memory: run it again, with fewer JOBS"):
            running.sweep(points, shared, settings, store, jobs=2, measure=killed)
        assert first.rows[0] in store.rows(point_key(point, shared["asic"]) for point in points)


def test_worker_with_other_tools(found: Found) -> None:
    """Figures of another version, or of other sources, are not mixed in."""
    settings, shared = found
    (point, *_) = Axes.parse(**GRID).points()
    row = running.measure_point(point, shared["asic"], settings, elsewhere)
    assert row.status == FAILED
    assert "'pyosys': '0.1'" in str(row.reason)
    stale = dataclasses.replace(shared["asic"], sources="other")
    row = running.measure_point(point, stale, settings, fake)
    assert (row.status, row.reason) == (FAILED, running.OTHER_SOURCES)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Dask scheduler with a worker in a process of its own."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1") as local:  # type: ignore[no-untyped-call]
        yield local.scheduler_address


def figures(row: Row) -> dict[str, object]:
    """All but what depends on the machine's speed."""
    return {name: getattr(row, name) for name in COLUMNS if name not in ("seconds", "record")}


def test_dask_by_address(found: Found, cluster: str, calls: Path, tmp_path: Path) -> None:
    """A cluster's workers do the work and give the same rows as this machine: of fakes, and of one real design."""
    from distributed import Client

    settings, shared = found
    points = Axes.parse(**GRID).points()
    local, remote = Store(tmp_path / "local.sqlite"), Store(tmp_path / "dask.sqlite")
    with local, remote:
        counting = partial(counted, calls=calls)
        for some, measure, over_there in ((points[1:], fake, counting), (points[:1], synth.measure, synth.measure)):
            here = running.sweep(some, shared, settings, local, jobs=1, measure=measure)
            there = running.sweep(some, shared, settings, remote, dask=cluster, measure=over_there)
            assert there.measured == len(some)
            assert [figures(row) for row in there.rows] == [figures(row) for row in here.rows]
    with Client(cluster) as client:  # type: ignore[no-untyped-call]
        (worker,) = client.run(os.getpid).values()
    assert [file.suffix for file in calls.iterdir()] == [f".{worker}"] * 9
    (real,) = here.rows
    assert (real.status, real.module) == (MEASURED, "flexnm_compressor_n2m4_a8_bitmask_rank")
    record = synth.measure("compressor", points[0].cfg, "asic", liberty=settings.liberty)
    assert (real.area_um2, real.fmax_mhz) == (record["figures"]["area_um2"], record["figures"]["fmax_mhz"])


def test_dask_that_does_not_answer(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit status 2."""
    monkeypatch.setattr(running, "WAIT", 0.5)
    command = ["sweep", "--liberty", str(library), "--out", str(tmp_path / "out")]
    assert run([*command, "--dask", "tcp://127.0.0.1:1"]) == 2
    assert "DASK=tcp://127.0.0.1:1 does not answer" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("content", [b"no table at all, but long enough for a header" * 9, None])
def test_file_of_something_else(content: bytes | None, tmp_path: Path) -> None:
    """It stays as it is, and one line says so."""
    file = tmp_path / "sweep.sqlite"
    if content is None:
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE points (key)")
    else:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"sweep\.sqlite .*move it away"):
        Store(file)
    assert content is None or file.read_bytes() == content
