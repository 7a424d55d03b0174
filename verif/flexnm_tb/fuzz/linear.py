"""Steps of a case on the linear engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import torch
from flexnm_model.driver import LinearDriver
from flexnm_model.packing import Bytes
from flexnm_rtl.config import Config, ConfigError, ceil_div
from flexnm_rtl.linear_registers import absent
from flexnm_rtl.registers import BY_NAME

from flexnm_tb.cosim.disturbance import Access, Disturbance
from flexnm_tb.cosim.engine import SimulatedEngine, Traffic
from flexnm_tb.engine_cycles import array_blocks, ideal_cycles
from flexnm_tb.engine_jobs import Job, Mode, modes_of
from flexnm_tb.engine_stimuli import random_job
from flexnm_tb.fuzz.case import KINDS, SHARES, Step, check
from flexnm_tb.fuzz.packets import Traffics, spoil
from flexnm_tb.fuzz.runner import PATIENCE, Runner
from flexnm_tb.illegal_jobs import illegal_modes

MOST_CYCLES = 250
"""Ideal cycles of a job at most, or it is made smaller."""


def adds_up(counters: Mapping[str, int]) -> bool:
    """Whether the array was either busy or waiting for one thing in a cycle."""
    waits = (counters[name] for name in ("wait_acts", "wait_weights", "wait_results"))
    return counters["busy_cycles"] + sum(waits) <= counters["cycles"]


class LinearRunner(Runner):
    """Runs cases on a linear engine."""

    kinds = tuple(kind for kind in KINDS if kind not in ("bus_error", "outside"))
    unit: SimulatedEngine

    def __init__(self, cfg: Config, unit: SimulatedEngine) -> None:
        """Raises DeviceError when the engine's constants are not those of ``cfg``."""
        LinearDriver(unit, cfg)
        super().__init__(cfg, unit, BY_NAME, absent(cfg))
        self.modes = list(modes_of(cfg).values())

    def job(self, step: Step, *, one_tile: bool = False) -> Job:
        """The job of a step; with ``one_tile`` its weights fit the engine before anything is multiplied."""
        cfg, mode = self.cfg, self.modes[step.mode % len(self.modes)]
        most = cfg.tokens_max_dense if mode.dense else cfg.tokens_max
        limits = (most, min(cfg.k_max, 6 * cfg.m_group), cfg.cols if one_tile else 4 * cfg.cols)
        t, k, o = (1 + size % limit for size, limit in zip(step.shape, limits, strict=True))
        while ideal_cycles(cfg, t, k, o, dense=mode.dense) > MOST_CYCLES and (t, k, o) != (1, 1, 1):
            t, k, o = ceil_div(t, 2), ceil_div(k, 2), ceil_div(o, 2)
        return random_job(self.rng, cfg, mode, (t, k, o))

    def setup(self, job: Job) -> None:
        """Tables and registers of a job, no flags."""
        accesses = []
        for name, entries in job.table_words.items():
            place = -1
            for entry, word in entries:
                accesses += [self.write("table_index", entry)] if entry != place else []
                accesses.append(self.write(name, word))
                place = entry + 1
        self.play(accesses)
        self.prepare(job.registers)

    def traffic(self, step: Step, sent: Traffics, linger: int) -> Traffic:
        """The pauses of a step."""
        acts, weights, results, _ = (SHARES[share] for share in step.shares)
        seed = self.rng.getrandbits(31)
        return Traffic(acts, weights, results, seed, sent.acts_last, sent.weights_last, linger, PATIENCE)

    def stream(self, step: Step, job: Job, sent: Traffics, plan: Disturbance, *, linger: int = 300) -> Bytes:
        """Send and take; returns the bytes that came."""
        width = self.cfg.requantized_width if job.mode.requantize else self.cfg.result_width
        tokens, _, outputs = job.shape
        size = ceil_div(outputs, self.cfg.cols) * self.cfg.cols * tokens * width // 8
        beats = job.act_beats + job.weight_beats
        self.unit.traffic = self.traffic(step, sent, linger + 20 * beats)
        if self.open_packet:  # what comes before the start would belong to the packet before
            self.play(plan.accesses[:1])
            plan = dataclasses.replace(plan, accesses=plan.accesses[1:])
        self.unit.disturbance = plan
        outcome = self.unit.stream(sent.acts, sent.weights, size)
        self.unit.disturbance = None
        self.left = outcome.acts_left, outcome.weights_left
        check(not self.unit.disturbed.broken, "an output changed or vanished before it was taken, or came too late")
        check(not self.unit.disturbed.overrun, f"more than {size} bytes of results")
        return outcome.results

    def compare(self, job: Job, packet: Bytes, flags: Collection[str]) -> None:
        """The whole result of a job, its flags, its counters."""
        check(self.unit.disturbed.finished, f"the job hangs, flags {sorted(self.flags())}, {self.left} bytes not taken")
        check(torch.equal(self.unpack(job, packet), job.expected), f"results of {job.shape}, {job.mode} are wrong")
        self.settled(flags, done=True)
        counters = self.counters()
        check(counters["blocks"] == array_blocks(self.cfg, *job.shape), f"blocks: {counters['blocks']}")
        check(counters["busy_cycles"] == job.ideal, f"busy_cycles: {counters['busy_cycles']}, not {job.ideal}")
        check(adds_up(counters), f"counters do not add up: {counters}")

    def unpack(self, job: Job, packet: Bytes) -> torch.Tensor:
        """Results of a packet. Raises FuzzError for one of another length."""
        try:
            return job.unpack(packet)
        except ConfigError as error:
            check(False, str(error))
            raise

    def _job(self, step: Step) -> None:
        job = self.job(step, one_tile=step.kind == "starved")
        if step.kind == "refused":
            self._refused(step, job)
            return
        if step.kind == "starved":
            job = job.cut_acts(step.cut % job.act_beats).cut_weights(step.at % job.weight_beats)
        self.setup(job)
        {"job": self._whole, "abort": self._abort, "starved": self._starved, "reset": self._reset}[step.kind](step, job)

    def _whole(self, step: Step, job: Job) -> None:
        seen, first = spoil(job, "acts", step.acts, step.cut, self.rng)
        seen, second = spoil(seen, "weights", step.weights, step.cut // 3, self.rng)
        sent = dataclasses.replace(
            second,
            acts=first.acts,
            acts_last=first.acts_last,
            act_end=first.act_end,
            errors=first.errors | second.errors,
        )
        start = dataclasses.replace(self.start(), at=step.at % 16)
        meddles = self.meddles(step.meddles, busy=True)
        held = bool(meddles) or step.at % 5 == 0
        plan = Disturbance([start, *meddles], act_end=sent.act_end, weight_end=sent.weight_end, hold=held)
        separate = self.open_packet
        packet = self.stream(step, job, sent, plan)
        answers = self.unit.disturbed.answers
        if not separate:
            self.expect([start], answers[:1], busy=False)
        before = self.state.errors
        self.expect(meddles, answers[len(answers) - len(meddles) :], busy=True)
        refused = {"not_ready"} if self.state.errors != before else set()
        self.compare(seen, packet, sent.errors | refused)
        check(self.left == sent.left, f"{self.left} bytes of the packets are left, not {sent.left}")
        self.open_packet = not (sent.acts_last and sent.weights_last)
        self._count(step, sent, refused)

    def _count(self, step: Step, sent: Traffics, refused: Collection[str]) -> None:
        for flag in sent.errors:
            stream, _ = flag.split("_")
            kind = step.acts if stream == "acts" else step.weights
            self.counts[f"{stream} {kind if kind in ('early', 'endless') else flag.split('_')[1]}"] += 1
        self.counts["start while busy"] += len(refused)
        self.counts["pauses"] += any(step.shares[:3])

    def _refused(self, step: Step, job: Job) -> None:
        cfg, modes = self.cfg, illegal_modes(self.cfg)
        dense = Mode(dense=True).word
        illegal = [
            {"tokens": 0}, {"tokens": cfg.tokens_max + 1, "mode": 0},
            {"tokens": cfg.tokens_max_dense + 1, "mode": dense}, {"tokens": 1 << 16 | 1}, {"channels": 0},
            {"channels": cfg.k_max + 1}, {"channels": 1 << 20 | 1}, {"outputs": 0},
            *({"mode": mode.word} for mode in modes),
        ]  # fmt: skip
        if cfg.flexible:
            pattern = BY_NAME["block_pattern"]
            bad = [(0, 4), (5, 4), (4, 4), (3, 5), (1, 0), (13, 16), (17, 16), (1, 32), (63, 63)]
            illegal += [{"block_pattern": pattern.encode(keep=n, group=m), "mode": 0} for n, m in bad]
        words = illegal[step.cut % len(illegal)]
        self.setup(job)
        done = self.state.done
        self.play([self.write(name, word) for name, word in words.items()])
        sent = Traffics(job.acts, job.weights)
        if self.open_packet:  # the rest of it would be taken, as it should
            sent = Traffics(job.acts[:0], job.weights[:0])
        start = dataclasses.replace(self.start(), at=step.at % 16)
        separate = self.open_packet
        self.stream(step, job, sent, Disturbance([start], stop=60))
        check(separate or self.unit.disturbed.answers[0].response == 0, "the start was not answered with OKAY")
        check(self.left == (len(sent.acts), len(sent.weights)), f"a start with {words} took something")
        self.settled({"shape"}, done=done)
        self.counts["illegal job"] += 1

    def _abort(self, step: Step, job: Job) -> None:
        sent = Traffics(job.acts, job.weights)
        abort = dataclasses.replace(self.start(abort=1), at=1 + step.at % (40 + 2 * job.ideal))
        packet = self.stream(step, job, sent, Disturbance([self.start(), abort]), linger=400)
        self._aborted(job, packet, [len(sent.acts), len(sent.weights)])

    def _aborted(self, job: Job, packet: Bytes, sizes: list[int]) -> None:
        done = self.unit.disturbed
        check(done.finished, f"an aborted job hangs, flags {sorted(self.flags())}")
        results = self.unpack(job, packet)
        aborted = "aborted" in self.flags()
        check(aborted or done.answers[-1].done >= done.finish, "an abort in a job set no flag")
        check(aborted or torch.equal(results, job.expected), "results are wrong before an abort that came too late")
        self.settled({"aborted"} if aborted else (), done=True)
        self.counters()
        whole = all(left in (0, size) for left, size in zip(self.left, sizes, strict=True))
        check(whole, f"{self.left} bytes of begun packets are left after an abort")
        self.open_packet = False
        self.counts["abort"] += 1

    def _starved(self, step: Step, job: Job) -> None:
        sent = Traffics(job.acts, job.weights, acts_last=False, weights_last=False)
        self.unit.traffic = Traffic()
        start, abort = self.start(), dataclasses.replace(self.start(abort=1), at=step.at % 50)
        first = self._part(step, job, sent, [start])
        check(not self.unit.disturbed.finished, "a job without its operands has ended")
        check(self.left == (0, 0), f"{self.left} bytes of packets that stop are left")
        nothing = Traffics(job.acts[:0], job.weights[:0])
        rest = self._part(step, job, nothing, [abort])
        check(self.unit.disturbed.finished, f"an aborted job hangs, flags {sorted(self.flags())}")
        self.compare(job, np.concatenate([first, rest]), {"aborted"})
        self.open_packet = True  # both packets had begun and had no TLAST
        self.counts["abort of a starved job"] += 1

    def _part(self, step: Step, job: Job, sent: Traffics, accesses: list[Access]) -> Bytes:
        """A part of a job: until nothing moves any more."""
        beats = job.act_beats + job.weight_beats
        plan = Disturbance(accesses, stop=600 + 40 * beats + 10 * job.ideal)
        return self.stream(step, job, sent, plan)

    def _reset(self, step: Step, job: Job) -> None:
        sent = Traffics(job.acts, job.weights)
        meddles = self.meddles(step.meddles, busy=True)
        stop = 1 + step.at % (60 + 2 * job.ideal)
        self.stream(step, job, sent, Disturbance([self.start(), *meddles], stop=stop))
        self.counts["reset in a job"] += 1
        self.reset(step)
