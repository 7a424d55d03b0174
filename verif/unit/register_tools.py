"""The engines' registers by name, over the bus of a RegisterFile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from axi_lite_tools import read, write
from flexnm_rtl.axi import OKAY, SLVERR
from flexnm_rtl.config import Config
from flexnm_rtl.decode_registers import DecodeRegisters
from flexnm_rtl.linear_registers import LinearRegisters
from flexnm_rtl.register_file import RegisterFile
from unit_tools import simulate

CFG = Config(rows=4, cols=8, k_max=512, t_max=40, lanes=2)
KINDS: dict[str, Callable[[Config], RegisterFile]] = {"linear": LinearRegisters, "decode": DecodeRegisters}
JOBS = {
    "linear": {"tokens": 5, "channels": 33, "outputs": 17},
    "decode": {"tokens": 3, "channels": 33, "outputs": 17, "keep": 6, "base_low": 0x1200, "limit_low": 0x9000},
}
"""A job each engine accepts; registers left out are 0."""


class Driver:
    """Registers by name; every access must succeed unless ``fails`` says it must not."""

    def __init__(self, ctx: Any, dut: RegisterFile, kind: str) -> None:
        self.ctx, self.dut, self.kind = ctx, dut, kind
        self.map = dut.map

    async def write(self, name: str, word: int, *, fails: bool = False, strobes: int = 0xF) -> None:
        response = await write(self.ctx, self.dut.s_axi, self.map[name].offset, word, strobes=strobes)
        assert response == (SLVERR if fails else OKAY), name

    async def read(self, name: str) -> int:
        word, response = await read(self.ctx, self.dut.s_axi, self.map[name].offset)
        assert response == OKAY, name
        return word

    async def fields(self, name: str) -> dict[str, int]:
        return self.map[name].decode(await self.read(name))

    async def ones(self, name: str) -> set[str]:
        return {field for field, value in (await self.fields(name)).items() if value}

    async def set_job(self, **values: int) -> None:
        mode = {field.name: values.pop(field.name, 0) for field in self.map["mode"].fields}
        rest = {register.name: 0 for register in self.dut.job_registers if register.name != "mode"}
        for name, value in (rest | JOBS[self.kind] | values).items():
            await self.write(name, value)
        await self.write("mode", self.map["mode"].encode(**mode))

    async def command(self, name: str) -> None:
        await self.write("control", self.map["control"].encode(**{name: 1}))

    async def pulse(self, port: str) -> None:
        self.ctx.set(getattr(self.dut, port), 1)
        await self.ctx.tick()
        self.ctx.set(getattr(self.dut, port), 0)


def run(bench: Any, cfg: Config = CFG, kind: str = "linear") -> None:
    """Run ``bench(driver)`` on a register file of its own."""
    dut = KINDS[kind](cfg)

    async def with_driver(ctx: Any) -> None:
        await bench(Driver(ctx, dut, kind))

    simulate(dut, with_driver)
