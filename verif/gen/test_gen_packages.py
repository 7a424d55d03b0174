"""What the packages import, and what the wheel holds."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from gen_tools import REPOSITORY, python

PACKAGES = ["flexnm_rtl", "flexnm_gen", "flexnm_model", "flexnm_tb"]

IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    "package, foreign",
    [
        ("flexnm_model", ["amaranth", "pyosys", "flexnm_gen", "flexnm_tb"]),
        ("flexnm_rtl", ["torch", "numpy", "pyosys", "click", "flexnm_gen", "flexnm_model", "flexnm_tb"]),
        ("flexnm_gen", ["torch", "numpy", "transformers", "cocotb", "flexnm_model", "flexnm_tb"]),
    ],
)
def test_layers_do_not_mix(package: str, foreign: list[str]) -> None:
    """Every module of a package imported, nothing of the other side loaded."""
    done = python(IMPORT_ALL, package)
    assert done.returncode == 0, done.stderr
    assert package in done.stdout.split()
    assert sorted(set(foreign) & set(done.stdout.split())) == []


def test_configuration_needs_the_standard_library_only() -> None:
    """So that the software model can read it anywhere."""
    code = "import sys, flexnm_rtl.config, flexnm_rtl.presets; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in python(code).stdout.split()}
    assert "flexnm_rtl" in loaded
    assert loaded.isdisjoint({"amaranth", "torch", "numpy", "click"})


def test_verilog_does_not_import_torch(tmp_path: Path) -> None:
    """A whole run of the command."""
    code = """
import sys
from flexnm_gen.cli import run
assert run(["verilog", "--preset", "n2m4", "--out", sys.argv[1]]) == 0
print(*sys.modules)
"""
    done = python(code, str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split("\n")[-2].split()}
    assert "amaranth" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "transformers", "flexnm_model"})


def test_wheel_holds_the_four_packages(tmp_path: Path) -> None:
    """Every Python file of the four, their py.typed marks, the command, and nothing else."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry,) = [n for n in names if n.endswith("entry_points.txt")]
        assert "flexnm = flexnm_gen.cli:main" in archive.read(entry).decode()
    assert {n.partition("/")[0] for n in names if ".dist-info/" not in n} == set(PACKAGES)
    assert any(n.endswith("LICENSE") for n in names)
    folders = ["rtl", "gen", "sw_model", "verif"]
    for folder, package in zip(folders, PACKAGES, strict=True):
        root = REPOSITORY / folder
        sources = {str(p.relative_to(root)) for p in (root / package).rglob("*.py")}
        assert sources <= names
        assert f"{package}/py.typed" in names
    assert not [n for n in names if "__pycache__" in n]
