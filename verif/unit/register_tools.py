"""The linear engine's registers by name, over the bus of a RegisterFile."""

from __future__ import annotations

from typing import Any

from axi_lite_tools import read, write
from flexnm_rtl.axi import OKAY, SLVERR
from flexnm_rtl.config import Config
from flexnm_rtl.register_file import RegisterFile
from flexnm_rtl.registers import BY_NAME
from unit_tools import simulate

CFG = Config(rows=4, cols=8, k_max=512, t_max=40, lanes=2)
JOB = {"tokens": 5, "channels": 33, "outputs": 17}


class Driver:
    """Registers by name; every access must succeed unless ``fails`` says it must not."""

    def __init__(self, ctx: Any, dut: RegisterFile) -> None:
        self.ctx, self.dut = ctx, dut

    async def write(self, name: str, word: int, *, fails: bool = False, strobes: int = 0xF) -> None:
        response = await write(self.ctx, self.dut.s_axi, BY_NAME[name].offset, word, strobes=strobes)
        assert response == (SLVERR if fails else OKAY), name

    async def read(self, name: str) -> int:
        word, response = await read(self.ctx, self.dut.s_axi, BY_NAME[name].offset)
        assert response == OKAY, name
        return word

    async def fields(self, name: str) -> dict[str, int]:
        return BY_NAME[name].decode(await self.read(name))

    async def ones(self, name: str) -> set[str]:
        return {field for field, value in (await self.fields(name)).items() if value}

    async def set_job(self, **values: int) -> None:
        mode = {field.name: values.pop(field.name, 0) for field in BY_NAME["mode"].fields}
        for name, value in (JOB | values).items():
            await self.write(name, value)
        await self.write("mode", BY_NAME["mode"].encode(**mode))

    async def command(self, name: str) -> None:
        await self.write("control", BY_NAME["control"].encode(**{name: 1}))

    async def pulse(self, port: str) -> None:
        self.ctx.set(getattr(self.dut, port), 1)
        await self.ctx.tick()
        self.ctx.set(getattr(self.dut, port), 0)


def run(bench: Any, cfg: Config = CFG) -> None:
    """Run ``bench(driver)`` on a register file of its own."""
    dut = RegisterFile(cfg)

    async def with_driver(ctx: Any) -> None:
        await bench(Driver(ctx, dut))

    simulate(dut, with_driver)
