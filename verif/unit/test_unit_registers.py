"""The linear engine's register file over its bus: the table, read-back, addresses, job registers."""

from __future__ import annotations

import random
from importlib.metadata import version

import pytest
from axi_lite_tools import read, write
from flexnm_rtl.axi import OKAY, SLVERR
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.registers import ADDRESS_BITS, BY_NAME, IDENTIFICATION, REGISTERS, Access
from register_tools import CFG, Driver, run

OTHER = Config(n_keep=2, m_group=4, lanes=1, act_width=16, weight_width=12, rows=3, cols=5, metadata=Metadata.INDEX)


def test_table_is_sane() -> None:
    offsets = [register.offset for register in REGISTERS]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 4 == 0 and 0 <= offset < 1 << ADDRESS_BITS for offset in offsets)
    assert len(BY_NAME) == len(REGISTERS)
    for register in REGISTERS:
        used = [bit for f in register.fields for bit in range(f.low, f.low + f.width)]
        assert used, register.name
        assert len(set(used)) == len(used), f"{register.name}: fields overlap"
        assert max(used) < 32
        names = [f.name for f in register.fields]
        assert len(set(names)) == len(names)
        assert all(f.meaning for f in register.fields)
    ports = [f.name for register in REGISTERS if register.access is Access.JOB for f in register.fields]
    assert len(set(ports)) == len(ports), "two job ports of one name"


def test_encode_and_decode() -> None:
    for register in REGISTERS:
        values = {f.name: (1 << f.width) - 1 - i for i, f in enumerate(register.fields) if f.width > 4}
        values |= {f.name: i & 1 for i, f in enumerate(register.fields) if f.width <= 4}
        assert register.decode(register.encode(**values)) == values
    with pytest.raises(KeyError):
        REGISTERS[0].encode(nothing=1)


@pytest.mark.parametrize("cfg", [CFG, OTHER], ids=["8:16", "2:4"])
def test_identity(cfg: Config) -> None:
    async def bench(d: Driver) -> None:
        assert await d.read("id") == IDENTIFICATION
        got = await d.fields("version")
        assert f"{got['major']}.{got['minor']}.{got['patch']}" == version("flexnm")
        indexed = int(cfg.metadata is Metadata.INDEX)
        expected = {"n": cfg.n_keep, "m": cfg.m_group, "metadata": indexed, "lanes": cfg.lanes}
        assert await d.fields("pattern") == expected
        assert await d.fields("array") == {"rows": cfg.rows, "cols": cfg.cols}
        widths = {"act": cfg.act_width, "weight": cfg.weight_width, "acc": cfg.acc_width, "result": cfg.result_width}
        assert await d.fields("widths") == widths
        ports = {"acts": cfg.act_ports, "weights": cfg.weight_ports, "results": cfg.result_ports}
        assert await d.fields("streams") == ports
        assert await d.read("t_max") == cfg.tokens_max
        assert await d.read("t_max_dense") == cfg.tokens_max_dense
        assert await d.read("k_max") == cfg.k_max

    run(bench, cfg)


def test_every_address() -> None:
    """Mapped ones answer reads; unmapped ones and writes to what is read-only answer SLVERR and change nothing."""
    by_offset = {register.offset: register for register in REGISTERS}

    async def bench(d: Driver) -> None:
        bus = d.dut.s_axi
        before = {register.name: await d.read(register.name) for register in REGISTERS}
        for offset in range(0, 1 << ADDRESS_BITS, 4):
            register = by_offset.get(offset)
            word, response = await read(d.ctx, bus, offset)
            assert response == (OKAY if register else SLVERR), hex(offset)
            assert register or word == 0
            if register is None or register.access is Access.READ_ONLY:
                assert await write(d.ctx, bus, offset, 0xFFFF_FFFF) == SLVERR, hex(offset)
        assert {register.name: await d.read(register.name) for register in REGISTERS} == before

    run(bench)


@pytest.mark.parametrize("cfg", [CFG, OTHER], ids=["8:16", "2:4"])
def test_job_registers_and_their_strobes(cfg: Config) -> None:
    registers = [register for register in REGISTERS if register.access is Access.JOB]
    assert {register.name for register in registers} == {"tokens", "channels", "outputs", "mode"}

    async def bench(d: Driver) -> None:
        rng = random.Random(2)
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
            await d.write(register.name, register.offset & 15)
        for register in registers:
            assert await d.read(register.name) == register.offset & 15

    run(bench, cfg)
