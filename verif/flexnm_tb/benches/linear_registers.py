"""cocotb tests of the linear engine's registers, against a model of them."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from flexnm_model.packing import unpack_results
from flexnm_rtl.registers import ADDRESS_BITS, BY_NAME, REGISTERS, Access

from flexnm_tb.engine_bench import EngineBench
from flexnm_tb.engine_cycles import ideal_cycles
from flexnm_tb.engine_jobs import modes_of
from flexnm_tb.engine_stimuli import random_pattern, random_shape
from flexnm_tb.register_model import COUNTERS, RegisterModel

MOST_CYCLES = 300
ROUNDS = 600
_ONES = 0xFFFF_FFFF


class Fuzz:
    """Random accesses to an engine, each answer compared with the model's."""

    def __init__(self, engine: EngineBench) -> None:
        self.engine = engine
        self.rng: random.Random = engine.rng
        self.model = RegisterModel(engine.cfg)

    async def read(self, address: int, size: int) -> None:
        """Read bytes of a word."""
        want, okay = self.model.read(address, size)
        got, got_okay = await self.engine.try_read(address, size)
        assert got_okay == okay, f"read of {address:#x}: {'OKAY' if got_okay else 'SLVERR'}"
        assert want is None or got == want, f"read of {address:#x}: {got:#x}, not {want:#x}"

    async def write(self, address: int, data: bytes) -> None:
        """Write bytes of a word, at times with a read of another register in flight. After an abort the job ends."""
        model, control = self.model, address == BY_NAME["control"].offset
        if control and model.legal and not model.busy:
            await self._limit_job()
        beside = None
        if self.rng.random() < 0.3:
            beside = cocotb.start_soon(self.read(self.rng.randrange(0x40), 1))
        aborts = control and model.busy and BY_NAME["control"].decode(data[0])["abort"]
        okay = model.write(address, data)
        assert await self.engine.try_write(address, data) == okay, f"write of {data.hex()} to {address:#x}"
        if beside is not None:
            await beside
        if aborts:
            await self._end()

    async def _limit_job(self) -> None:
        """Make a job that may start now a short one."""
        words, dense = self.model.words, bool(self.model.mode["dense"])
        shape = (words["tokens"], words["channels"], words["outputs"])
        if ideal_cycles(self.engine.cfg, *shape, dense=dense) > MOST_CYCLES:
            for name in ("channels", "outputs"):
                await self.write_word(name, 1)

    async def _end(self) -> None:
        """An aborted job whose packets are missing has zeros as its results."""
        engine, words = self.engine, self.model.words
        frame = await engine.within(1000 + 20 * MOST_CYCLES, engine.sink.recv())
        packet = np.frombuffer(bytes(frame.tdata), dtype=np.uint8)
        scaled = bool(self.model.mode["requantize"])
        results = unpack_results(packet, words["tokens"], words["outputs"], engine.cfg, requantized=scaled)
        assert not results.any()
        await engine.cycles(2)
        self.model.finish({name: await engine.read(name) for name in COUNTERS})

    async def write_word(self, name: str, word: int) -> None:
        """Write a whole register."""
        await self.write(BY_NAME[name].offset, word.to_bytes(4, "little"))

    async def begin_job(self) -> None:
        """Start a small job, if none runs."""
        rng, cfg = self.rng, self.engine.cfg
        mode = rng.choice(list(modes_of(cfg).values()))
        tokens, channels, outputs = random_shape(rng, cfg, mode, MOST_CYCLES)
        for name, word in (("tokens", tokens), ("channels", channels), ("outputs", outputs), ("mode", mode.word)):
            await self.write_word(name, word)
        if cfg.flexible:
            n, m = random_pattern(rng, cfg) or (1, 4)
            await self.write_word("block_pattern", BY_NAME["block_pattern"].encode(keep=n, group=m))
        await self.write_word("control", 1)

    async def end_job(self) -> None:
        """Abort the job that runs."""
        await self.write_word("control", BY_NAME["control"].encode(abort=1))

    def random_data(self, name: str | None, size: int) -> bytes:
        """Bytes to write: for job registers mostly numbers around what is allowed."""
        cfg, rng = self.engine.cfg, self.rng
        likely = {
            "tokens": [0, 1, cfg.rows, cfg.tokens_max_dense, cfg.tokens_max, cfg.tokens_max + 1],
            "channels": [0, 1, cfg.m_group, cfg.k_max, cfg.k_max + 1],
            "outputs": [0, 1, cfg.cols, cfg.cols + 1],
            "mode": list(range(16)),
            "block_pattern": [m << 6 | n for m in (0, 4, 5, 8, 16, 32) for n in (0, 1, m // 2, m, m + 1)],
            "control": [0, 1, 1, 2, 3],
        }.get(name or "", [])
        value = rng.choice(likely) if likely and rng.random() < 0.8 else rng.getrandbits(32)
        return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    async def any_access(self) -> None:
        """A read or a write, anywhere; bytes of one word, so all strobes that are contiguous."""
        rng = self.rng
        register = rng.choice(REGISTERS) if rng.random() < 0.8 else None
        address = register.offset if register else rng.randrange(0, 1 << ADDRESS_BITS, 4)
        first = 0 if rng.random() < 0.6 else rng.randrange(4)
        size = 4 - first if rng.random() < 0.6 else rng.randint(1, 4 - first)
        if rng.random() < 0.5:
            await self.read(address + first, size)
        else:
            await self.write(address + first, self.random_data(register.name if register else None, size))

    async def read_all(self) -> None:
        """Every word of the address space."""
        for address in range(0, 1 << ADDRESS_BITS, 4):
            await self.read(address, 4)


@cocotb.test()
@cocotb.parametrize(slow_bus=[False, True])
async def fuzz(dut: Any, slow_bus: bool) -> None:
    """Random accesses, idle and while a job waits for its packets; unmapped addresses, read-only registers, bytes."""
    engine = EngineBench(dut, f"fuzz {slow_bus}", slow_bus=slow_bus)
    await engine.start()
    fuzz = Fuzz(engine)
    await fuzz.read_all()
    for _ in range(ROUNDS):
        await fuzz.any_access()
        chance = engine.rng.random()
        if fuzz.model.busy and chance < 0.1:
            await fuzz.end_job()
        elif chance < 0.03:
            await fuzz.begin_job()
    await fuzz.begin_job()
    await fuzz.end_job()
    await fuzz.read_all()
    await engine.quiet()


@cocotb.test()
async def bits(dut: Any) -> None:
    """Every bit of every register that can be written, both ways and beside others; a reset brings all back."""
    engine = EngineBench(dut, "bits")
    await engine.start()
    fuzz = Fuzz(engine)
    # Halves, quarters, … of a word, so that any two bits differ in one of them; then all ones.
    patterns = [sum(1 << bit for bit in range(32) if bit >> k & 1) for k in range(5)]
    words = [0, *patterns, *(~word & _ONES for word in patterns), *(fuzz.rng.getrandbits(32) for _ in range(5)), _ONES]
    names = [register.name for register in REGISTERS if register.access is Access.JOB]
    for word in words:
        for name in names:
            if await engine.try_write(BY_NAME[name].offset, word.to_bytes(4, "little")):
                assert fuzz.model.write(BY_NAME[name].offset, word.to_bytes(4, "little"))
        for name in names:
            await fuzz.read(BY_NAME[name].offset, 4)
    for flags in ({"start": 1}, {"abort": 1}):
        await engine.command(**flags)
    assert await engine.flags("errors") == {"shape"}
    await engine.reset()
    fuzz.model = RegisterModel(engine.cfg)
    await fuzz.read_all()
    await engine.quiet()
