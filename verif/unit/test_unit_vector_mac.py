"""VectorMac: sums of whole tiles for rows of every length, with pauses, rows that were not read, results held up."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_rtl.config import Config
from flexnm_rtl.vector_mac import VectorMac
from unit_tools import pack, simulate, unpack

BASE = Config(n_keep=2, m_group=4, lanes=1, rows=2, k_max=64, bus_width=64, tile_beats=16)
CONFIGS = {
    **{f"{beats} beats": BASE.replace(tile_beats=beats) for beats in (1, 2, 16)},
    "one token": BASE.replace(rows=1, tile_beats=4),
    "three tokens, 5-bit weights": BASE.replace(rows=3, weight_width=5, act_width=6, tile_beats=4),
    "16 bits": BASE.replace(rows=2, weight_width=16, act_width=16, tile_beats=2),
    "4 bits": BASE.replace(rows=1, weight_width=4, act_width=4, tile_beats=2),
}


@dataclass
class Row:
    """A row of a tile: weights of all its beats, the tokens' values."""

    weights: list[list[int]]
    values: list[int]
    read: bool = True


Tile = list[Row]


def random_tile(cfg: Config, rng: random.Random, beats: int, rows: int) -> Tile:
    """Extreme numbers now and then."""
    half_w, half_x = 1 << (cfg.weight_width - 1), 1 << (cfg.act_width - 1)

    def number(half: int) -> int:
        return -half if rng.random() < 0.1 else rng.randint(-half, half - 1)

    return [
        Row(
            [[number(half_w) for _ in range(cfg.weights_per_bus)] for _ in range(beats)],
            [number(half_x) for _ in range(cfg.rows)],
        )
        for _ in range(rows)
    ]


def words(cfg: Config, tile: Tile, rng: random.Random) -> list[dict[str, int]]:
    """The stream of a tile. A row that was not read has garbage for weights, and one beat unless it is the first.

    The bits of a weight above its width are garbage as well.
    """
    stream = []
    for number, row in enumerate(tile):
        first, last = number == 0, number == len(tile) - 1
        beats = len(row.weights) if row.read or first else 1
        for beat in range(beats):
            spare = [w + (rng.randint(0, 7) << cfg.weight_width) for w in row.weights[beat]]
            stream.append(
                {
                    "weights": pack(spare, cfg.memory_weight_width) if row.read else rng.getrandbits(cfg.bus_width),
                    "beat": beat, "end": int(beat == beats - 1), "valid_data": int(row.read),
                    "values": pack(row.values, cfg.act_width), "beats": len(row.weights) - 1, "first": int(first),
                    "last": int(last),
                }
            )  # fmt: skip
    return stream


def results(cfg: Config, tile: Tile) -> list[tuple[list[int], int]]:
    """Beat by beat, token by token: the sums, and last with the last token."""
    found = []
    for beat in range(len(tile[0].weights)):
        for token in range(cfg.rows):
            sums = [
                sum(row.weights[beat][lane] * row.values[token] for row in tile if row.read)
                for lane in range(cfg.weights_per_bus)
            ]
            found.append((sums, int(token == cfg.rows - 1)))
    return found


@dataclass
class Pace:
    """Chances of an offer and of a taken result in a cycle."""

    offer: float = 1.0
    take: float = 1.0


async def run(ctx: Any, dut: VectorMac, tiles: list[Tile], pace: Pace, seed: int) -> tuple[list[int], list[int]]:
    """Send tiles, check all results; returns the cycles in which beats were taken, and in which results were."""
    cfg, rng = dut.cfg, random.Random(seed)
    stream = [word for tile in tiles for word in words(cfg, tile, rng)]
    expected = [result for tile in tiles for result in results(cfg, tile)]
    sent: list[int] = []
    taken: list[int] = []
    offering, waiting, quiet = False, None, 0
    for cycle in range(200 + int(30 * (len(stream) * 3 + len(expected) * 2) / min(pace.offer, pace.take))):
        offering = len(sent) < len(stream) and (offering or rng.random() < pace.offer)
        ctx.set(dut.i.valid, offering)
        ctx.set(Value.cast(dut.i.p), rng.getrandbits(len(Value.cast(dut.i.p))))
        if offering:
            word, p = stream[len(sent)], dut.i.p
            for name in ("weights", "beat", "end", "valid_data"):
                ctx.set(getattr(p, name), word[name])
            for name in ("beats", "first", "last"):
                ctx.set(getattr(p.request, name), word[name])
            ctx.set(Value.cast(p.request["values"]), word["values"])
        ready = rng.random() < pace.take
        ctx.set(dut.o.ready, ready)
        valid, payload = ctx.get(dut.o.valid), ctx.get(Value.cast(dut.o.p))
        assert waiting is None or (valid and payload == waiting), "an offered result changed"
        waiting = payload if valid and not ready else None
        if valid and ready:
            assert len(taken) < len(expected), "a result too many"
            sums = unpack(payload, cfg.acc_width, cfg.weights_per_bus)
            assert (sums, payload >> (cfg.acc_width * cfg.weights_per_bus)) == expected[len(taken)]
            taken.append(cycle)
        if offering and ctx.get(dut.i.ready):
            sent.append(cycle)
            offering = False
        await ctx.tick()
        quiet = quiet + 1 if len(taken) == len(expected) else 0
        if quiet > 8:
            break
    assert (len(sent), len(taken)) == (len(stream), len(expected))
    return sent, taken


async def start(ctx: Any, dut: VectorMac) -> None:
    ctx.set(dut.start, 1)
    ctx.set(dut.i.valid, 0)
    await ctx.tick()
    ctx.set(dut.start, 0)


PACES = [Pace(), Pace(0.5, 0.5), Pace(1.0, 0.2), Pace(0.2, 1.0), Pace(0.8, 1.0)]


@pytest.mark.parametrize("pace", PACES, ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_tiles_with_rows_of_every_length(name: str, pace: Pace) -> None:
    """Rows of 1 beat, of the tile's, and in between in the last tile; jobs after each other."""
    cfg = CONFIGS[name]
    dut = VectorMac(cfg)

    async def bench(ctx: Any) -> None:
        rng = random.Random(name)
        for job, tail in enumerate(sorted({1, 2, 3, cfg.tile_beats})):
            tiles = [random_tile(cfg, rng, cfg.tile_beats, rng.choice([1, 2, 5])) for _ in range(job % 3)]
            tiles.append(random_tile(cfg, rng, min(tail, cfg.tile_beats), rng.choice([1, 2, 7])))
            await start(ctx, dut)
            await run(ctx, dut, tiles, pace, seed=job)

    simulate(dut, bench)


@pytest.mark.parametrize("pace", [Pace(), Pace(0.7, 0.4)], ids=str)
@pytest.mark.parametrize("name", ["1 beats", "2 beats", "16 beats"])
def test_rows_that_were_not_read_add_nothing(name: str, pace: Pace) -> None:
    """From any row of a tile on, the first included, and for whole tiles."""
    cfg = CONFIGS[name]
    dut = VectorMac(cfg)

    async def bench(ctx: Any) -> None:
        rng = random.Random(5)
        for read in range(9):
            tiles = [random_tile(cfg, rng, cfg.tile_beats, 4), random_tile(cfg, rng, cfg.tile_beats, 3)]
            for number, row in enumerate(tiles[0] + tiles[1]):
                row.read = number < read
            await start(ctx, dut)
            await run(ctx, dut, tiles, pace, seed=read)

    simulate(dut, bench)


@pytest.mark.parametrize("beats", [1, 2, 3, 4, 16])
def test_pace(beats: int) -> None:
    """A beat a cycle; a row every ``SETTLE`` cycles at least; the first result right behind the last beat."""
    cfg = BASE.replace(tile_beats=16)
    dut = VectorMac(cfg)
    rows = 6

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        sent, taken = await run(ctx, dut, [random_tile(cfg, random.Random(1), beats, rows)], Pace(), seed=1)
        step = max(beats, dut.SETTLE)
        assert sent == [sent[0] + row * step + beat for row in range(rows) for beat in range(beats)]
        assert taken[0] == sent[-1] + dut.SETTLE + 1

    simulate(dut, bench)


def test_the_next_tile_fills_while_one_leaves_and_the_third_waits() -> None:
    """Nothing is taken of a third tile while no result of the first one can leave; then everything is right."""
    cfg = CONFIGS["16 beats"]
    dut = VectorMac(cfg)
    rng = random.Random(8)
    tiles = [random_tile(cfg, rng, 16, 2) for _ in range(4)]

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        ctx.set(dut.o.ready, 0)
        stream = [word for tile in tiles for word in words(cfg, tile, rng)]
        taken = 0
        for _ in range(200):
            word, p = stream[taken], dut.i.p
            ctx.set(dut.i.valid, 1)
            for name in ("beat", "end"):
                ctx.set(getattr(p, name), word[name])
            for name in ("beats", "first", "last"):
                ctx.set(getattr(p.request, name), word[name])
            taken += ctx.get(dut.i.ready)
            await ctx.tick()
        assert taken == 2 * 2 * 16
        await start(ctx, dut)  # and a start sets everything back
        assert not ctx.get(dut.o.valid)
        await run(ctx, dut, tiles, Pace(1.0, 0.5), seed=2)

    simulate(dut, bench)


def test_the_largest_sums_fit() -> None:
    """``k_max`` products of the most negative numbers, and of the least favourable signs."""
    cfg = BASE.replace(k_max=16, tile_beats=1)
    dut = VectorMac(cfg)
    lanes = cfg.weights_per_bus

    async def bench(ctx: Any) -> None:
        for weight, value in ((-128, -128), (127, -128), (-128, 127)):
            tile = [Row([[weight] * lanes], [value, value]) for _ in range(16)]
            await start(ctx, dut)
            await run(ctx, dut, [tile], Pace(), seed=0)

    simulate(dut, bench)
