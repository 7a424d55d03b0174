"""Driving a Preparation: its tables, the beats of whole jobs, and what must come out of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from amaranth.hdl import Cat, ClockDomain, Module, Signal, Value
from flexnm_model import token_methods
from flexnm_model.packing import pack_acts
from flexnm_rtl.config import Config, ScoreFactor, ceil_div
from flexnm_rtl.preparation import Preparation
from unit_tools import Flow, Streams, pack, transfer, unpack

MODES = ("factors", "static_shift", "token_shift")


@dataclass
class Tables:
    """What the tables hold, of all channels and tokens."""

    factors: list[int]
    shifts: list[int]
    exponents: list[int]

    @classmethod
    def some(cls, cfg: Config, rng: random.Random) -> Tables:
        return cls(
            [rng.getrandbits(cfg.factor_width) for _ in range(cfg.k_max)],
            [rng.randrange(-(1 << 15), 1 << 15) >> rng.randrange(16) for _ in range(cfg.k_max)],
            [rng.randrange(16) for _ in range(cfg.tokens_max)],
        )


@dataclass
class Job:
    """Beats of a job with what comes along (see ``Driver``), and what must come out."""

    mode: dict[str, bool]
    items: list[int] = field(default_factory=list)
    expected: list[dict[str, list[int]]] = field(default_factory=list)


def modes_of(cfg: Config) -> dict[str, bool]:
    """Modes that the design has hardware for."""
    return {
        "factors": cfg.score_factor is not ScoreFactor.NONE,
        "static_shift": cfg.static_shift,
        "token_shift": cfg.token_shift,
    }


class Driver:
    """A ``Preparation`` whose input payload is a beat, its keep bits, its place in the job, and its group's shifts."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.dut = dut = Preparation(cfg)
        self.m = m = Module()
        m.domains.sync = ClockDomain()  # a design without methods has no registers
        m.submodules.dut = dut
        sides = [Value.cast(dut.i.p), dut.keep, *(getattr(dut, n) for n in ("chunk_last", "k_last") if hasattr(dut, n))]
        sides += [Value.cast(dut.means)] if cfg.token_shift else []
        payload = Signal(len(Cat(sides)))
        m.d.comb += Cat(sides).eq(payload)
        beat = Value.cast(dut.o.p)
        self.streams = Streams(dut.i.valid, dut.i.ready, payload, dut.o.valid, dut.o.ready, beat)

    async def write(self, ctx: Any, tables: Tables) -> None:
        """Fill the tables, in any order."""
        cfg, dut, rng = self.cfg, self.dut, random.Random(1)
        columns = zip(tables.factors, tables.shifts, strict=True)
        entries = [
            ("channel", k // cfg.m_group << cfg.index_width | k % cfg.m_group, f | pack([h], 16) << 16)
            for k, (f, h) in enumerate(columns)
        ]
        entries += [("token", t, e | rng.getrandbits(28) << 4) for t, e in enumerate(tables.exponents)]
        rng.shuffle(entries)
        for kind, index, word in entries:
            strobe = getattr(dut, f"write_{kind}_data", None)
            if strobe is not None:
                ctx.set(dut.table_index, index)
                ctx.set(dut.table_data, word)
                ctx.set(strobe, 1)
                await ctx.tick()
                ctx.set(strobe, 0)

    async def run(self, ctx: Any, job: Job, **stalls: Any) -> Flow:
        """A job from its start to its end."""
        dut = self.dut
        for name, value in job.mode.items():
            if hasattr(dut, name):
                ctx.set(getattr(dut, name), value)
        if hasattr(dut, "start"):
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
        flow = Flow()
        await transfer(ctx, self.streams, job.items, len(job.items), flow, **stalls)
        return flow

    def fields(self, beat: int) -> dict[str, list[int]]:
        """What an output beat holds."""
        cfg = self.cfg
        slot = 8 * cfg.act_slot_bytes
        widths = {"slots": (slot, cfg.act_ports, False)}
        widths["blocks"] = (cfg.value_width, cfg.act_ports * cfg.m_group, True)
        widths["keep"] = (1, cfg.m_group, False)
        widths |= {"factors": (cfg.factor_width, cfg.m_group, False)} if cfg.factor_width else {}
        found = {}
        for name, (width, count, signed) in widths.items():
            found[name] = unpack(beat & ((1 << width * count) - 1), width, count, signed=signed)
            beat >>= width * count
        assert not beat
        return found


def make_job(cfg: Config, tables: Tables, mode: dict[str, bool], shape: tuple[int, int], rng: random.Random) -> Job:
    """Random activations; groups and blocks are filled up with garbage. shape: tokens and channels."""
    tokens, channels = shape
    padded, width = ceil_div(tokens, cfg.rows) * cfg.rows, cfg.blocks(channels) * cfg.m_group
    half = 1 << (cfg.act_width - 1)
    x = torch.tensor([[rng.randrange(-half, half) for _ in range(width)] for _ in range(padded)])
    eta = [rng.randrange(-(1 << cfg.value_width), 1 << cfg.value_width) >> rng.randrange(9) for _ in range(padded)]
    h = torch.tensor(tables.shifts[:channels] + [0] * (width - channels))
    e = torch.tensor((tables.exponents + [0] * cfg.rows)[:padded])
    static = token_methods.static_shift(h, e) if mode["static_shift"] else None
    shift = torch.tensor(eta) if mode["token_shift"] else torch.zeros(padded, dtype=torch.int64)
    values = token_methods.values(x, static, shift, cfg)[:tokens].tolist()
    neutral = 1 if cfg.score_factor is ScoreFactor.MULTIPLY else 0
    factors = [f if mode["factors"] else neutral for f in tables.factors[:channels]]
    packet = pack_acts(x.to(torch.int32), cfg).tobytes()
    size = cfg.act_ports * cfg.act_slot_bytes
    job = Job(mode)
    places = [
        (group, k, row)
        for group in range(0, padded, cfg.rows)
        for k in range(0, width, cfg.m_group)
        for row in range(0, cfg.rows, cfg.act_ports)
    ]
    for n, (group, k, row) in enumerate(places):
        beat = int.from_bytes(packet[n * size : (n + 1) * size], "little")
        real = min(cfg.m_group, channels - k)
        keep = [int(i < real) for i in range(cfg.m_group)]
        job.items.append(beat_word(cfg, beat, keep, (group, k, row), width, eta))
        rows = values[group + row : group + row + cfg.act_ports]
        out = {"slots": unpack(beat, 8 * cfg.act_slot_bytes, cfg.act_ports, signed=False)}
        out |= {"blocks": [v for row_values in rows for v in row_values[k : k + cfg.m_group]], "keep": keep}
        out |= {"factors": factors[k : k + real]} if cfg.factor_width else {}
        job.expected.append(out)
    return job


def beat_word(cfg: Config, beat: int, keep: list[int], place: tuple[int, int, int], width: int, eta: list[int]) -> int:
    """The input payload."""
    group, k, row = place
    parts = [(beat, 8 * cfg.act_slot_bytes * cfg.act_ports), (pack(keep, 1), cfg.m_group)]
    tabled = cfg.static_shift or bool(cfg.factor_width)
    parts += [(row + cfg.act_ports == cfg.rows, 1)] if tabled or cfg.token_shift else []
    parts += [(k + cfg.m_group >= width, 1)] if tabled else []
    parts += [(pack(eta[group : group + cfg.rows], cfg.shift_width), 0)] if cfg.token_shift else []
    word, low = 0, 0
    for value, bits in parts:
        word |= value << low
        low += bits
    return word


def check(driver: Driver, job: Job, flow: Flow) -> None:
    """Beats for beats; values and factors of padding and of tokens that are not there are not compared."""
    for beat, want in zip(flow.received, job.expected, strict=True):
        got, keep = driver.fields(beat), want["keep"]
        real = sum(keep)
        assert (got["slots"], got["keep"]) == (want["slots"], keep)
        for port in range(0, len(want["blocks"]), len(keep)):
            assert got["blocks"][port : port + real] == want["blocks"][port : port + real]
        assert got.get("factors", [])[:real] == want.get("factors", [])
