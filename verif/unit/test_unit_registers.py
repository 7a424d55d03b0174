"""The engines' register files over their bus: the tables, read-back, addresses, job registers."""

from __future__ import annotations

import random
from importlib.metadata import version

import pytest
from axi_lite_tools import read, write
from flexnm_rtl.axi import OKAY, SLVERR
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.registers import (
    ADDRESS_BITS,
    DECODE_IDENTIFICATION,
    IDENTIFICATION,
    REGISTER_MAPS,
    Access,
)
from register_tools import CFG, KINDS, Driver, run

OTHER = Config(
    n_keep=2, m_group=4, lanes=1, act_width=16, weight_width=12, rows=3, cols=5, metadata=Metadata.INDEX, bus_width=64,
    tile_beats=32, outstanding=2, address_width=40,
)  # fmt: skip
LARGEST = CFG.replace(rows=256, t_max=0, weight_width=4, bus_width=512, tile_beats=64, outstanding=256)
"""Where fields of the decode engine's identity have their largest values."""
TABLED = CFG.replace(score_factor="multiply", static_shift=True, token_shift=True, variance=True, fraction_bits=2)

both = pytest.mark.parametrize("kind", KINDS)


@both
def test_table_is_sane(kind: str) -> None:
    registers = list(REGISTER_MAPS[kind].values())
    offsets = [register.offset for register in registers]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 4 == 0 and 0 <= offset < 1 << ADDRESS_BITS for offset in offsets)
    assert list(REGISTER_MAPS[kind]) == [register.name for register in registers]
    for register in registers:
        used = [bit for f in register.fields for bit in range(f.low, f.low + f.width)]
        assert used, register.name
        assert len(set(used)) == len(used), f"{register.name}: fields overlap"
        assert max(used) < 32
        names = [f.name for f in register.fields]
        assert len(set(names)) == len(names)
        assert all(f.meaning for f in register.fields)
    ports = [f.name for register in registers if register.access is Access.JOB for f in register.fields]
    assert len(set(ports)) == len(ports), "two job ports of one name"


def test_both_engines_are_told_apart_at_the_same_place() -> None:
    linear, decode = REGISTER_MAPS["linear"], REGISTER_MAPS["decode"]
    assert IDENTIFICATION != DECODE_IDENTIFICATION
    for name in ("id", "version", "widths", "k_max", "control", "status", "errors", "cycles"):
        assert linear[name].offset == decode[name].offset, name


@both
def test_encode_and_decode(kind: str) -> None:
    for register in REGISTER_MAPS[kind].values():
        values = {f.name: (1 << f.width) - 1 - i for i, f in enumerate(register.fields) if f.width > 4}
        values |= {f.name: i & 1 for i, f in enumerate(register.fields) if f.width <= 4}
        assert register.decode(register.encode(**values)) == values
    with pytest.raises(KeyError):
        REGISTER_MAPS[kind]["id"].encode(nothing=1)


@pytest.mark.parametrize("cfg", [CFG, OTHER, TABLED], ids=["8:16", "2:4", "methods"])
def test_identity_of_the_linear_engine(cfg: Config) -> None:
    async def bench(d: Driver) -> None:
        assert await d.read("id") == IDENTIFICATION
        await check_common_identity(d, cfg)
        indexed = int(cfg.metadata is Metadata.INDEX)
        expected = {"n": cfg.n_keep, "m": cfg.m_group, "metadata": indexed, "lanes": cfg.lanes}
        assert await d.fields("pattern") == expected
        assert await d.fields("array") == {"rows": cfg.rows, "cols": cfg.cols}
        ports = {"acts": cfg.act_ports, "weights": cfg.weight_ports, "results": cfg.result_ports}
        assert await d.fields("streams") == ports
        assert await d.read("t_max") == cfg.tokens_max
        assert await d.read("t_max_dense") == cfg.tokens_max_dense
        kinds = {"none": 0, "multiply": 1, "shift": 2}
        methods = ("factor_width", "static_shift", "token_shift", "variance", "fraction_bits", "flexible")
        expected = {name: int(getattr(cfg, name)) for name in methods}
        assert await d.fields("methods") == expected | {"score_factor": kinds[cfg.score_factor.value]}

    run(bench, cfg)


@pytest.mark.parametrize("cfg", [CFG, OTHER, LARGEST], ids=["8:16", "2:4", "largest"])
def test_identity_of_the_decode_engine(cfg: Config) -> None:
    async def bench(d: Driver) -> None:
        assert await d.read("id") == DECODE_IDENTIFICATION
        await check_common_identity(d, cfg)
        expected = {"n": cfg.n_keep, "m": cfg.m_group, "tokens": cfg.rows - 1, "outstanding": cfg.outstanding - 1}
        assert await d.fields("pattern") == expected
        memory = {
            "bus_bytes": cfg.bus_width // 8,
            "tile_beats": cfg.tile_beats,
            "weight_width": cfg.memory_weight_width,
            "results": cfg.decode_result_ports,
        }
        assert await d.fields("memory") == memory

    run(bench, cfg, "decode")


async def check_common_identity(d: Driver, cfg: Config) -> None:
    got = await d.fields("version")
    assert f"{got['major']}.{got['minor']}.{got['patch']}" == version("flexnm")
    widths = {"act": cfg.act_width, "weight": cfg.weight_width, "acc": cfg.acc_width, "result": cfg.result_width}
    assert await d.fields("widths") == widths
    assert await d.read("k_max") == cfg.k_max


@both
def test_every_address(kind: str) -> None:
    """Mapped ones answer reads; unmapped ones and writes to what is read-only answer SLVERR and change nothing."""
    registers = REGISTER_MAPS[kind]
    by_offset = {register.offset: register for register in registers.values()}

    async def bench(d: Driver) -> None:
        bus = d.dut.s_axi
        before = {name: await d.read(name) for name in registers}
        for offset in range(0, 1 << ADDRESS_BITS, 4):
            register = by_offset.get(offset)
            word, response = await read(d.ctx, bus, offset)
            assert response == (OKAY if register else SLVERR), hex(offset)
            assert register or word == 0
            if register is None or register.access is Access.READ_ONLY or register.name in d.dut.absent:
                assert await write(d.ctx, bus, offset, 0xFFFF_FFFF) == SLVERR, hex(offset)
        assert {name: await d.read(name) for name in registers} == before

    run(bench, kind=kind)


@pytest.mark.parametrize(
    "cfg, kind", [(CFG, "linear"), (OTHER, "linear"), (TABLED, "linear"), (CFG, "decode"), (OTHER, "decode")]
)
def test_job_registers_and_their_strobes(cfg: Config, kind: str) -> None:
    own = {"keep", "base_low", "base_high", "limit_low", "limit_high"} if kind == "decode" else set()
    own |= {"table_index"} if cfg.methods else set()
    registers = [REGISTER_MAPS[kind][name] for name in ("tokens", "channels", "outputs", "mode", *sorted(own))]

    async def bench(d: Driver) -> None:
        rng = random.Random(2)
        assert {register.name for register in d.dut.job_registers} == {register.name for register in registers}
        for register in registers:
            held = 0
            implemented = sum(((1 << f.width) - 1) << f.low for f in register.fields)
            for strobes in (0xF, *range(16)):
                word = rng.getrandbits(32)
                mask = sum(0xFF << (8 * byte) for byte in range(4) if strobes >> byte & 1)
                held = ((held & ~mask) | (word & mask)) & implemented
                await d.write(register.name, word, strobes=strobes)
                assert await d.read(register.name) == held, (register.name, strobes)
                for f in register.fields:
                    port = getattr(d.dut, f.name)
                    assert d.ctx.get(port) == (held >> f.low & ((1 << f.width) - 1)) % (1 << len(port))
        for register in registers:  # they share no storage
            await d.write(register.name, (register.offset >> 2) % (1 << register.fields[-1].low + 1))
        for register in registers:
            assert await d.read(register.name) == (register.offset >> 2) % (1 << register.fields[-1].low + 1)

    run(bench, cfg, kind)


def test_tables_are_written_entry_by_entry() -> None:
    async def bench(d: Driver) -> None:
        bus, ctx = d.dut.s_axi, d.ctx
        await d.write("table_index", 7)
        seen = []
        for name, word, strobes in (
            ("channel_data", 0x1234_5678, 0xF),
            ("channel_data", 0xFFFF_FFFF, 0b0100),
            ("token_data", 9, 0xF),
            ("token_data", 9, 0),
        ):
            ctx.set(bus.awaddr, d.map[name].offset)
            ctx.set(bus.wdata, word)
            ctx.set(bus.wstrb, strobes)
            for port in (bus.awvalid, bus.wvalid):
                ctx.set(port, 1)
            written = [table.name for table in d.dut.tables if ctx.get(getattr(d.dut, f"write_{table.name}"))]
            seen.append((written, ctx.get(d.dut.table_index), ctx.get(d.dut.table_data)))
            await ctx.tick()
            for port in (bus.awvalid, bus.wvalid):
                ctx.set(port, 0)
            ctx.set(bus.bready, 1)
            await ctx.tick()
        assert seen == [
            (["channel_data"], 7, 0x1234_5678),
            (["channel_data"], 8, 0x00FF_0000),
            (["token_data"], 9, 9),
            ([], 10, 0),
        ]
        assert await d.read("table_index") == 10
        assert await d.read("channel_data") == 0
        await d.set_job()
        await d.command("start")
        for name in ("channel_data", "token_data", "table_index"):
            await d.write(name, 1, fails=True)
        assert await d.read("table_index") == 0, "as set_job left it"

    run(bench, TABLED)


@pytest.mark.parametrize("cfg", [CFG.replace(static_shift=True), CFG.replace(score_factor="shift")])
def test_tables_without_hardware_answer_with_an_error(cfg: Config) -> None:
    async def bench(d: Driver) -> None:
        everything = {"channel_data", "token_data", "block_pattern"}
        assert {table.name for table in d.dut.tables} | set(d.dut.absent) == everything
        for name in sorted(everything):
            await d.write(name, 1, fails=name in d.dut.absent)
            assert await d.read(name) == 0

    run(bench, cfg)
