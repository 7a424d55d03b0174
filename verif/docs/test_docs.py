"""The documents against the project: pictures, latencies, links, commands, manifest keys, the README's example."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flexnm_gen.cli import COMMANDS
from flexnm_gen.generate import render
from flexnm_gen.tops import TOPS, UNITS, chosen_tops, module_name
from flexnm_rtl.config import Config
from flexnm_rtl.presets import DEFAULT_PRESET, PRESETS, preset

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
STALE = "run `make docs` and commit the result"


def load_build() -> Any:
    """docs/build.py as a module."""
    spec = importlib.util.spec_from_file_location("flexnm_docs_build", DOCS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build = load_build()


def page_text(page: Path) -> str:
    """Text of a page."""
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page_text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_waveforms_are_what_the_components_do(tmp_path: Path) -> None:
    """The committed waveforms are, byte for byte, what a new simulation gives."""
    for made in build.render_waves(tmp_path):
        assert made.read_bytes() == (DOCS / "figures" / made.name).read_bytes(), f"{made.name}: {STALE}"


@pytest.mark.parametrize("name", sorted(build.WAVES))
def test_waveforms_show_the_stated_latency(name: str) -> None:
    """A component's latency attribute is what its simulation shows."""
    waves = build.WAVES[name]()
    assert waves.measured == waves.stated


def test_latency_table_is_up_to_date() -> None:
    """The latencies of the architecture page equal the attributes of the components."""
    page = page_text(build.LATENCY_PAGE)
    assert build.latency_table() in page, STALE
    assert build.with_table(page) == page, STALE


@pytest.mark.parametrize("source", sorted(DOCS.glob("figures/*.dot")), ids=lambda path: path.name)
def test_dot_figures_show_every_label(source: Path) -> None:
    """Drawings differ with graphviz' version, so only the labels are compared."""
    drawn = html.unescape(source.with_suffix(".svg").read_text(encoding="utf-8"))
    for label in re.findall(r'[\s\[]label="([^"]*)"', source.read_text(encoding="utf-8")):
        for line in label.split(r"\n"):
            assert f">{line}</text>" in drawn, f"{source.stem}.svg lacks {line!r}: {STALE}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name a file of the project, and a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page_text(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target} does not exist"
        assert file.is_relative_to(ROOT), f"{page.name}: {target} leaves the project"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target} names no heading"


def make_commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Targets and variables of the ``make`` commands of a page."""
    text = page_text(page)
    for line in [*re.findall(r"^    (make .*)$", text, re.MULTILINE), *re.findall(r"`(make [^`]+)`", text)]:
        target, *settings = line.split()[1:]
        yield target, [setting.partition("=")[0] for setting in settings]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_make_commands_exist(page: Path) -> None:
    """Every make target and every variable given to it is one of the Makefile."""
    for target, settings in make_commands(page):
        assert re.search(rf"^{re.escape(target)}:.*##", MAKEFILE, re.MULTILINE), f"make {target}"
        known = re.search(rf"^settings_{target} := (.*)$", MAKEFILE, re.MULTILINE)
        assert not settings or (known is not None and set(settings) <= set(known[1].split())), f"make {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_flexnm_commands_exist(page: Path) -> None:
    """Every ``flexnm`` command is one of the command line."""
    assert set(re.findall(r"`(?:\S*/)?flexnm (\w+)", page_text(page))) <= set(COMMANDS)


def test_readme_has_the_variables_of_verilog() -> None:
    """The table of variables is the Makefile's list."""
    table = README.partition("| variable |")[2].partition("\n\n")[0]
    names = re.findall(r"`([A-Z_]+)`", table)
    known = re.search(r"^settings_verilog := (.*)$", MAKEFILE, re.MULTILINE)
    assert known is not None
    assert sorted(names) == sorted(known[1].split())


def test_readme_has_the_variables_of_sim() -> None:
    """The variables of ``make sim`` are the Makefile's list."""
    known = re.search(r"^settings_sim := (.*)$", MAKEFILE, re.MULTILINE)
    assert known is not None
    assert f"`{known[1]}`" in README


def test_readme_has_the_presets() -> None:
    """Every preset is in the table, with its pattern, in order."""
    assert re.findall(r"^\| `(n\d\S*)` \| (\S+) \|", README, re.MULTILINE) == [
        (name, cfg.pattern) for name, cfg in PRESETS.items()
    ]


def test_readme_has_the_files_of_verilog() -> None:
    """The file names under ``make verilog N=8 M=16`` are those it writes."""
    cfg = preset(DEFAULT_PRESET).replace(n_keep=8, m_group=16, lanes=8)
    names = [module_name(top, cfg) for top in chosen_tops(UNITS)]
    assert "".join(f"    build/{name}/{name}.v\n" for name in names) in README


def test_readme_names_every_component() -> None:
    """Every file with RTL is linked from the README."""
    for file in (ROOT / "rtl" / "flexnm_rtl").glob("[!_]*.py"):
        assert f"({file.relative_to(ROOT)})" in README


@pytest.mark.parametrize("title", ["Software model", "Linear-layer engine"])
def test_readme_example_runs(title: str) -> None:
    """The Python lines of the README print what the README says."""
    section = README.partition(f"## {title}\n")[2].partition("\n## ")[0]
    source, _, output = section.partition("this prints")
    code = "\n".join(re.findall(r"^    (?!make)(.+)$", source, re.MULTILINE))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == output.strip().partition("\n")[0]


def key_paths(manifest: dict[str, Any]) -> set[str]:
    """Keys of a manifest as the interface page writes them."""
    paths = set()
    for key, value in manifest.items():
        if isinstance(value, dict) and key not in ("streams", "buses"):
            paths |= {f"{key}.{inner}" for inner in value}
        elif key == "ports":
            paths |= {key, *(f"ports[].{inner}" for port in value for inner in port)}
        else:
            paths.add(key)
    return paths


@pytest.mark.parametrize("top", sorted(TOPS))
def test_manifest_keys_are_documented(top: str) -> None:
    """The key table of the interface page has exactly the keys a manifest has."""
    name, files = render(top, Config(rows=1, cols=1))
    manifest = json.loads(files[f"{name}.json"])
    table = page_text(DOCS / "interfaces.md").partition("| key | meaning |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE)
    documented = {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
    assert documented == key_paths(manifest)


def test_no_machine_paths_and_no_registry_hosts() -> None:
    """Documents and their sources name no path of a machine and no package registry."""
    folders = [f"/{name}/" for name in ("work", "home", "root", "tmp")]
    words = [*folders, "pypi" + ".", "python" + "hosted"]
    for file in [*PAGES, DOCS / "build.py", *DOCS.glob("figures/*")]:
        text = file.read_text(encoding="utf-8").lower()
        assert not [word for word in words if word in text], file.name
