"""Steps of a case on the decode engine and its memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from flexnm_model.decode_driver import DecodeDriver, pack_tokens
from flexnm_model.packing import Bytes
from flexnm_rtl.config import Config, ceil_div
from flexnm_rtl.registers import DECODE

from flexnm_tb.cosim.decoder import MemoryTraffic, Reads, SimulatedDecoder
from flexnm_tb.cosim.disturbance import Access, Disturbance
from flexnm_tb.fuzz.case import SHARES, Step, check
from flexnm_tb.fuzz.decode_job import DecodeJob
from flexnm_tb.fuzz.runner import PATIENCE, Runner
from flexnm_tb.stimuli import random_numbers


class DecodeRunner(Runner):
    """Runs cases on a decode engine."""

    unit: SimulatedDecoder

    def __init__(self, cfg: Config, unit: SimulatedDecoder) -> None:
        """Raises DeviceError when the engine's constants are not those of ``cfg``."""
        self.driver = DecodeDriver(unit, cfg)
        super().__init__(cfg, unit, DECODE, ())

    def job(self, step: Step) -> DecodeJob:
        """The job of a step; its weights are in memory."""
        cfg, rng = self.cfg, self.rng
        limits = (cfg.rows, min(cfg.k_max, 6 * cfg.m_group), 5 * cfg.tile_outputs // 2)
        t, k, o = (1 + size % limit for size, limit in zip(step.shape, limits, strict=True))
        x, w = random_numbers(rng, (t, k), cfg.act_width), random_numbers(rng, (o, k), cfg.weight_width)
        keep = cfg.n_keep if step.mode % 3 == 0 else 1 + step.mode % cfg.m_group
        size = ceil_div(o, cfg.tile_outputs) * k * cfg.row_bytes
        top = (1 << cfg.address_width) - size - cfg.row_bytes
        base = rng.choice([0, 4096, cfg.row_bytes * rng.randrange(1 << 20), top]) // cfg.row_bytes * cfg.row_bytes
        region, data = self.driver.pack(w, min(base, top))
        self.unit.load(region.base, data)
        return DecodeJob(cfg, x, w, keep, step.mode // 3 % 4 == 0, region, data)

    @property
    def reads(self) -> Reads:
        """What the memory saw of the last job."""
        assert self.unit.reads is not None
        return self.unit.reads

    def stream(
        self, step: Step, job: DecodeJob, acts: Bytes, plan: Disturbance, *, last: bool = True,
        errors: tuple[int, int] = (0, 0), linger: int = 300,
    ) -> Bytes:  # fmt: skip
        """Send, serve reads and take; returns the bytes that came."""
        if self.open_packet:
            self.play(plan.accesses[:1])
            plan = dataclasses.replace(plan, accesses=plan.accesses[1:])
        a, data, results, requests = (SHARES[share] for share in step.shares)
        linger += 20 * len(acts) // self.unit.beats["ACT_BYTES"]
        self.unit.traffic = MemoryTraffic(
            self.rng.choice([0, 1, 2, 7, 40]), self.rng.choice([1, 4, 16]), a, requests, data, results,
            self.rng.getrandbits(31), errors, self.rng.choice([2, 3]), last, linger, PATIENCE,
        )  # fmt: skip
        self.unit.disturbance = plan
        packet = self.unit.transfer(acts, job.size)
        self.unit.disturbance = None
        done = self.unit.disturbed
        check(not done.broken, "an output changed or vanished before it was taken, or came too late")
        check(not done.overrun, f"more than {job.size} bytes of results")
        check(not self.reads.outside, "a read outside the weight region")
        check(not self.reads.crossed, "a burst crosses a 4 KB boundary")
        return packet

    def ended(self, job: DecodeJob, packet: Bytes) -> torch.Tensor:
        """The results of a job that has ended, with nothing left on the bus."""
        done = self.unit.disturbed
        check(done.finished, f"the job hangs, flags {sorted(self.flags())}, {self.reads.acts_left} bytes not taken")
        check(not done.bursts_left, f"{done.bursts_left} bursts are left on the bus")
        return job.unpack(packet)

    def compare(self, job: DecodeJob, packet: Bytes, flags: set[str]) -> None:
        """Results, flags, reads and counters of a job that has read all it should."""
        results = self.ended(job, packet)
        what = f"{tuple(job.x.shape)} x {job.w.shape[0]}, N={job.keep}"
        check(torch.equal(results, job.expected), f"results of {what} are wrong")
        self.settled(flags, done=True)
        counters, wanted = self.counters(), (len(job.rows), job.beats)
        check((self.reads.bursts, self.reads.beats) == wanted, f"reads {self.reads}, not {wanted}")
        check((counters["rows"], counters["beats"]) == wanted, f"counters {counters}, not {wanted}")

    def _job(self, step: Step) -> None:
        job = self.job(step)
        if step.kind != "refused":
            self.prepare(job.registers)
        actions = {
            "job": self._whole, "refused": self._refused, "abort": self._abort, "starved": self._starved,
            "reset": self._reset, "bus_error": self._bus_error, "outside": self._outside,
        }  # fmt: skip
        actions[step.kind](step, job)

    def _whole(self, step: Step, job: DecodeJob) -> None:
        acts, beat = pack_tokens(job.x, self.cfg), self.unit.beats["ACT_BYTES"]
        blocks, end, seen, flags, left = len(acts) // beat, 0, job, set[str](), 0
        if step.acts in ("short", "early") and blocks > 1:
            cut = 1 + step.cut % (blocks - 1)
            seen, flags = job.cut(cut), {"acts_short"}
            end, left = (cut * beat, len(acts) - cut * beat) if step.acts == "early" else (0, 0)
            acts = acts if end else acts[: cut * beat]
        elif step.acts != "good":
            more = (step.cut % 12 if step.acts == "endless" else 1 + step.cut % 12) * beat
            acts = np.concatenate([acts, np.frombuffer(self.rng.randbytes(more), dtype=np.uint8)])
            flags = {"acts_long"}
        start = dataclasses.replace(self.start(), at=step.at % 16)
        meddles = self.meddles(step.meddles, busy=True)
        plan = Disturbance([start, *meddles], act_end=end, hold=bool(meddles) or step.at % 5 == 0)
        separate = self.open_packet
        packet = self.stream(step, job, acts, plan, last=step.acts != "endless")
        answers, before = self.unit.disturbed.answers, self.state.errors
        if not separate:
            self.expect([start], answers[:1], busy=False)
        self.expect(meddles, answers[len(answers) - len(meddles) :], busy=True)
        refused = {"not_ready"} if self.state.errors != before else set()
        self.compare(seen, packet, flags | refused)
        check(self.reads.acts_left == left, f"{self.reads.acts_left} bytes of the packet are left, not {left}")
        self.open_packet = step.acts == "endless"
        for flag in flags:
            kind = step.acts if step.acts in ("early", "endless") else flag.split("_")[1]
            self.counts[f"acts {kind}"] += 1
        self.counts["start while busy"] += len(refused)
        self.counts["pauses"] += any(step.shares)

    def _refused(self, step: Step, job: DecodeJob) -> None:
        cfg = self.cfg
        illegal = [
            {"tokens": 0}, {"tokens": cfg.rows + 1}, {"tokens": 1 << 16 | 1}, {"channels": 0},
            {"channels": cfg.k_max + 1}, {"channels": 1 << 20 | 1}, {"outputs": 0}, {"keep": 0},
            {"keep": cfg.m_group + 1}, {"keep": 63}, {"base_low": 1}, {"base_low": cfg.row_bytes // 2},
        ]  # fmt: skip
        if cfg.address_width < 64:
            illegal.append({"base_high": 1 << 31})
        words = illegal[step.cut % len(illegal)]
        self.prepare(job.registers)
        done = self.state.done
        self.play([self.write(name, word) for name, word in words.items()])
        acts = pack_tokens(job.x, cfg)
        acts = acts[:0] if self.open_packet else acts
        self.stream(step, job, acts, Disturbance([self.start()], stop=60))
        check(self.reads.acts_left == len(acts), f"a start with {words} took something")
        check(not self.reads.bursts, f"a start with {words} read something")
        self.settled({"shape"}, done=done)
        self.counts["illegal job"] += 1

    def _abort(self, step: Step, job: DecodeJob) -> None:
        acts = pack_tokens(job.x, self.cfg)
        abort = dataclasses.replace(self.start(abort=1), at=1 + step.at % (80 + 2 * job.beats))
        packet = self.stream(step, job, acts, Disturbance([self.start(), abort]), linger=400)
        results, done = self.ended(job, packet), self.unit.disturbed
        aborted = "aborted" in self.flags()
        check(aborted or done.answers[-1].done >= done.finish, "an abort in a job set no flag")
        check(aborted or torch.equal(results, job.expected), "results are wrong before an abort that came too late")
        self.settled({"aborted"} if aborted else (), done=True)
        self.counters()
        left = self.reads.acts_left
        check(left in (0, len(acts)), f"{left} bytes of a begun packet are left after an abort")
        self.open_packet = False
        self.counts["abort"] += 1

    def _starved(self, step: Step, job: DecodeJob) -> None:
        acts, beat = pack_tokens(job.x, self.cfg), self.unit.beats["ACT_BYTES"]
        cut = step.cut % (len(acts) // beat)
        abort = dataclasses.replace(self.start(abort=1), at=step.at % 50)
        stop = 800 + 60 * job.beats + 60 * len(job.rows)
        parts = self._part(step, job, acts[: cut * beat], self.start(), stop)
        check(not self.unit.disturbed.finished, "a job without its activations has ended")
        check(self.reads.acts_left == 0, "a packet that stops was not taken")
        check(not self.unit.disturbed.bursts_left, "bursts are left though the memory had time")
        rest = self._part(step, job, acts[:0], abort, stop)
        self.ended(job, np.concatenate([parts, rest]))
        self.settled({"aborted"}, done=True)
        self.counters()
        self.open_packet = True
        self.counts["abort of a starved job"] += 1

    def _part(self, step: Step, job: DecodeJob, acts: Bytes, access: Access, stop: int) -> Bytes:
        return self.stream(step, job, acts, Disturbance([access], stop=stop), last=False)

    def _bus_error(self, step: Step, job: DecodeJob) -> None:
        bus = self.cfg.bus_width // 8
        address = job.region.base + job.rows[step.cut % len(job.rows)] * self.cfg.row_bytes
        acts, plan = pack_tokens(job.x, self.cfg), Disturbance([self.start()])
        packet = self.stream(step, job, acts, plan, errors=(address, address + bus))
        self.ended(job, packet)
        self.settled({"bus_error"}, done=True)
        self.counters()
        self.open_packet = False
        self.counts[f"bus error: {'SLVERR' if self.unit.traffic.error_response == 2 else 'DECERR'}"] += 1

    def _outside(self, step: Step, job: DecodeJob) -> None:
        rows, row_bytes = job.rows, self.cfg.row_bytes
        count = step.cut % len(rows)
        size = rows[count] * row_bytes + [0, 1, row_bytes - 1][step.at % 3]
        self.unit.load(job.region.base, job.data[:size].copy())
        small = dataclasses.replace(job, region=dataclasses.replace(job.region, size=size))
        self.prepare(small.registers)
        packet = self.stream(step, small, pack_tokens(job.x, self.cfg), Disturbance([self.start()]))
        self.ended(small, packet)
        self.settled({"outside"}, done=True)
        self.counters()
        check(self.reads.bursts == count, f"{self.reads.bursts} rows read, not the {count} before the limit")
        self.open_packet = False
        self.counts["region too small"] += 1

    def _reset(self, step: Step, job: DecodeJob) -> None:
        meddles = self.meddles(step.meddles, busy=True)
        stop = 1 + step.at % (80 + 2 * job.beats)
        self.stream(step, job, pack_tokens(job.x, self.cfg), Disturbance([self.start(), *meddles], stop=stop))
        self.counts["reset in a job"] += 1
        self.reset(step)
