"""The linear engine behind cocotbext-axi: whole jobs, compared with the model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from flexnm_rtl.registers import BY_NAME

from flexnm_tb.axi_bench import AxiBench
from flexnm_tb.coverage import functional
from flexnm_tb.engine_cycles import array_blocks
from flexnm_tb.engine_jobs import Job


class EngineBench(AxiBench):
    """Drives the linear engine's wrapper; see ``AxiBench`` for the stalls."""

    def __init__(self, dut: Any, salt: str, **stalled: bool) -> None:
        super().__init__(dut, salt, BY_NAME, ["acts", "weights"], **stalled)
        self.acts, self.weights = self.sources["acts"], self.sources["weights"]

    async def begin(self, job: Job) -> None:
        """Write the job registers, clear the error flags, start."""
        functional.begin(self.ctx, self.stalled, job.x, job.pattern, job.mode.kind)
        for name, entries in job.table_words.items():
            place = -1
            for entry, word in entries:
                if entry != place:
                    await self.write("table_index", entry)
                await self.write(name, word)
                place = entry + 1
        for name, word in job.registers.items():
            await self.write(name, word)
        await self.write("errors", 0xFFFF_FFFF)
        await self.command(start=1)

    def send(self, job: Job) -> None:
        """Queue both packets; an empty one is not sent at all."""
        for source, packet in ((self.acts, job.acts), (self.weights, job.weights)):
            if len(packet):
                source.send_nowait(packet.tobytes())

    async def packet(self, job: Job) -> torch.Tensor:
        """The results of a job, int64 (T, O). Raises ConfigError when the packet is too short or too long."""
        frame = await self.within(job.patience, self.sink.recv())
        return job.unpack(np.frombuffer(bytes(frame.tdata), dtype=np.uint8))

    async def finish(self, job: Job, errors: Collection[str] = ()) -> dict[str, int]:
        """Take the results, compare them, and see that exactly these error flags are set. Returns the counters."""
        got, want = await self.packet(job), job.expected
        wrong = torch.nonzero(got != want).tolist()
        first = tuple(wrong[0]) if wrong else ()
        assert not wrong, (
            f"T, K, O = {job.shape}, {job.mode}: {len(wrong)} results are wrong, the first one at {first}: "
            f"{int(got[first])}, not {int(want[first])} (seed {self.ctx.seed})"
        )
        assert await self.flags("status") == {"done"}
        assert await self.flags("errors") == set(errors)
        names = ("cycles", "busy_cycles", "wait_acts", "wait_weights", "wait_results", "blocks")
        counters = {name: await self.read(name) for name in names}
        assert counters["blocks"] == array_blocks(self.cfg, *job.shape)
        assert counters["busy_cycles"] == job.ideal
        assert sum(counters[name] for name in names[1:5]) <= counters["cycles"]
        return counters

    async def run(self, job: Job, errors: Collection[str] = (), *, early: bool | None = None) -> dict[str, int]:
        """A whole job. early: the packets are on offer before it starts; None: now and then. Returns the counters."""
        if early is None:
            early = self.rng.random() < 0.5
        if early:
            self.send(job)
        await self.begin(job)
        if not early:
            self.send(job)
        return await self.finish(job, errors)
