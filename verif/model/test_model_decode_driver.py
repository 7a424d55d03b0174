"""Memory and packets of the decode engine, taken apart byte by byte; its driver, against an engine in plain Python."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from fake_decoder import FakeDecoder, tokens_of, weight_at
from flexnm_model.decode_driver import DecodeDriver, pack_memory, pack_tokens, union_rows
from flexnm_model.driver import DeviceError
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_rtl.config import Config, ConfigError
from flexnm_rtl.registers import DECODE

CONFIGS = {
    "n2m4": Config(n_keep=2, m_group=4, lanes=2, rows=2, k_max=64, bus_width=64, tile_beats=2),
    "n3m5-odd-widths": Config(
        n_keep=3, m_group=5, lanes=3, rows=3, k_max=60, act_width=6, weight_width=5, bus_width=64, tile_beats=4
    ),
    "n8m16-int4": Config(rows=1, k_max=64, act_width=4, weight_width=4, bus_width=64, tile_beats=1),
    "n4m4-w16": Config(
        n_keep=4, m_group=4, lanes=2, rows=2, k_max=64, act_width=16, weight_width=16, bus_width=128, tile_beats=2,
        address_width=40,
    ),
}  # fmt: skip


def integers(shape: tuple[int, int], width: int, seed: int) -> torch.Tensor:
    """Random signed integers of ``width`` bits."""
    half = 1 << (width - 1)
    return torch.randint(-half, half, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int32)


@pytest.mark.parametrize("width", [4, 5, 8, 9, 16])
@pytest.mark.parametrize("outputs, channels", [(1, 1), (3, 7), (16, 4), (33, 5), (70, 13)])
def test_memory_holds_every_weight_where_it_should(width: int, outputs: int, channels: int) -> None:
    cfg = Config(weight_width=width, bus_width=64, tile_beats=2)
    w = integers((outputs, channels), width, seed=outputs)
    memory = pack_memory(w, cfg)
    lanes = 128 // (4 if width == 4 else 8 if width <= 8 else 16)
    tiles = -(-outputs // lanes)
    assert memory.dtype == np.uint8
    assert memory.shape == (tiles * channels * 16,)
    for o in range(tiles * lanes):
        for k in range(channels):
            expected = int(w[o, k]) if o < outputs else 0
            assert weight_at(memory, 0, o, k, channels, cfg) == expected, (o, k)


def test_memory_of_a_known_layer() -> None:
    """Ten outputs, two channels, rows of 8 bytes: the bytes written out."""
    w = torch.tensor([[o, -o] for o in range(1, 11)])
    cfg = Config(bus_width=64, tile_beats=1)
    first = [1, 2, 3, 4, 5, 6, 7, 8, 255, 254, 253, 252, 251, 250, 249, 248]
    second = [9, 10, 0, 0, 0, 0, 0, 0, 247, 246, 0, 0, 0, 0, 0, 0]
    assert pack_memory(w, cfg).tolist() == first + second
    nibbles = torch.tensor([[o % 8, -(o % 8)] for o in range(1, 11)])
    packed = pack_memory(nibbles, cfg.replace(weight_width=4)).tolist()
    assert packed == [0x21, 0x43, 0x65, 0x07, 0x21, 0, 0, 0, 0xEF, 0xCD, 0xAB, 0x09, 0xEF, 0, 0, 0]
    wide = pack_memory(torch.tensor([[-2], [513]]), cfg.replace(weight_width=12)).tolist()
    assert wide == [0xFE, 0xFF, 0x01, 0x02, 0, 0, 0, 0]


@pytest.mark.parametrize("width", [4, 5, 8, 16])
@pytest.mark.parametrize("m, rows, tokens, channels", [(4, 2, 1, 9), (5, 3, 3, 11), (16, 1, 1, 16), (7, 4, 2, 1)])
def test_packets_hold_every_activation_where_it_should(
    width: int, m: int, rows: int, tokens: int, channels: int
) -> None:
    cfg = Config(n_keep=2, m_group=m, lanes=1, rows=rows, act_width=width)
    x = integers((tokens, channels), width, seed=m)
    found = tokens_of(pack_tokens(x, cfg), channels, cfg)
    padding = [0] * (-channels % m)
    assert found[:tokens] == [[*token, *padding] for token in x.tolist()]
    assert not any(map(any, found[tokens:]))


@pytest.mark.parametrize("name", CONFIGS)
def test_jobs_of_all_shapes(name: str) -> None:
    """Bases, N of the job, dense; every result, and the registers as they were written."""
    cfg = CONFIGS[name]
    engine = FakeDecoder(cfg)
    driver = DecodeDriver(engine, cfg)
    rng = random.Random(1)
    for seed in range(8):
        shape = rng.randint(1, cfg.rows), rng.randint(1, cfg.k_max), rng.randint(1, 5 * cfg.tile_outputs // 2)
        x, w = integers(shape[:2], cfg.act_width, seed), integers((shape[2], shape[1]), cfg.weight_width, seed)
        top = cfg.address_width > 32 and seed % 2
        base = cfg.row_bytes * rng.randrange(100) + ((1 << 32) - cfg.row_bytes * 64 if top else 0)
        keep, dense = rng.choice([None, rng.randint(1, cfg.m_group)]), seed % 3 == 2
        region = driver.load(w, base)
        result = driver.run(x, region, dense=dense, keep=keep)
        n = cfg.n_keep if keep is None else keep
        expected = dense_matmul(x, w, cfg) if dense else sparse_matmul(x, w, cfg.replace(n_keep=n, lanes=1))
        assert torch.equal(result.results, expected)
        assert engine.jobs[-1] == {
            "tokens": shape[0], "channels": shape[1], "outputs": shape[2], "mode": int(dense), "keep": n,
            "base": base, "limit": base + region.size,
        }  # fmt: skip
        assert result.counters == {"cycles": 7, "rows": 5, "beats": 0, "wait_memory": 0, "wait_results": 0}
    assert {job["mode"] for job in engine.jobs} == {0, 1}


def test_layers_side_by_side() -> None:
    """A region packed alone, and run from the middle of a memory."""
    cfg = CONFIGS["n2m4"]
    engine = FakeDecoder(cfg)
    driver = DecodeDriver(engine, cfg)
    w = integers((20, 9), 8, seed=1)
    region, data = driver.pack(w, base=48)
    assert (region.base, region.size, region.outputs, region.channels) == (48, len(data), 20, 9)
    engine.load(16, np.concatenate([np.full(32, 0x55, dtype=np.uint8), data]))
    x = integers((2, 9), 8, seed=2)
    assert torch.equal(driver.run(x, region).results, sparse_matmul(x, w, cfg))


def test_errors_of_the_engine_become_one_line() -> None:
    cfg = CONFIGS["n2m4"]
    engine = FakeDecoder(cfg)
    driver = DecodeDriver(engine, cfg)
    region = driver.load(integers((20, 9), 8, seed=1))
    x = integers((2, 9), 8, seed=2)
    engine.errors_after_job = DECODE["errors"].encode(bus_error=1, outside=1)
    with pytest.raises(DeviceError, match=r"\Athe engine reports bus_error, outside\Z"):
        driver.run(x, region)
    engine.errors_after_job, engine.errors_at_start = 0, DECODE["errors"].encode(not_ready=1)
    with pytest.raises(DeviceError, match=r"\Athe engine reports not_ready\Z"):
        driver.run(x, region)
    assert len(engine.jobs) == 1, "no streams for a job that was refused"
    engine.errors_at_start = 0
    driver.run(x, region)  # the flags were cleared


@pytest.mark.parametrize(
    "change, register",
    [
        ({"n_keep": 1, "lanes": 1}, "pattern"), ({"m_group": 8}, "pattern"), ({"rows": 3}, "pattern"),
        ({"bus_width": 128}, "memory"), ({"tile_beats": 4}, "memory"), ({"weight_width": 4}, "memory"),
        ({"act_width": 7}, "widths"), ({"weight_width": 7}, "widths"), ({"k_max": 32}, "k_max"),
    ],
)  # fmt: skip
def test_an_engine_with_another_configuration_is_refused(change: dict[str, int], register: str) -> None:
    cfg = CONFIGS["n2m4"]
    with pytest.raises(DeviceError, match=rf"\Athe engine has another configuration: {register} [^\n]*\Z"):
        DecodeDriver(FakeDecoder(cfg), cfg.replace(**change))


def test_another_engine_is_refused() -> None:
    cfg = CONFIGS["n2m4"]
    engine = FakeDecoder(cfg)
    engine.words["id"] = 0x464E4D31
    with pytest.raises(DeviceError, match=r"0x464e4d31, not 0x464e4d44\Z"):
        DecodeDriver(engine, cfg)


def test_weights_that_do_not_fit() -> None:
    cfg = CONFIGS["n2m4"]
    driver = DecodeDriver(FakeDecoder(cfg), cfg)
    good = torch.ones(3, 8, dtype=torch.int32)
    for w, base, message in (
        (torch.ones(3, 65, dtype=torch.int32), 0, "K=65 exceeds the engine's K_MAX=64"),
        (good, 8, "0x8 are not aligned: a multiple of 16 is needed"),
        (good, (1 << 32) - 128, "need more than 32 address bits"),
        (torch.ones(0, 8, dtype=torch.int32), 0, "cannot be packed"),
        (torch.ones(3, 0, dtype=torch.int32), 0, "cannot be packed"),
        (torch.full((3, 8), 128, dtype=torch.int32), 0, "do not fit 8 bits"),
        (torch.ones(3, 8), 0, "integers are needed"),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            driver.load(w, base)
        assert "\n" not in str(error.value)
    driver.load(good, (1 << 32) - 144)


def test_a_vector_of_weights_is_refused() -> None:
    cfg = CONFIGS["n2m4"]
    driver = DecodeDriver(FakeDecoder(cfg), cfg)
    with pytest.raises(ConfigError, match="cannot be packed"):
        driver.load(torch.ones(8, dtype=torch.int32))


@pytest.mark.parametrize("base", [-16, -1, 1 << 32])
def test_a_base_without_an_address_is_refused(base: int) -> None:
    cfg = CONFIGS["n2m4"]
    driver = DecodeDriver(FakeDecoder(cfg), cfg)
    with pytest.raises(ConfigError):
        driver.load(torch.ones(3, 8, dtype=torch.int32), base)


def test_activations_that_do_not_fit() -> None:
    cfg = CONFIGS["n2m4"]
    driver = DecodeDriver(FakeDecoder(cfg), cfg)
    region = driver.load(torch.ones(3, 8, dtype=torch.int32))
    good = torch.ones(2, 8, dtype=torch.int32)
    for x, keep, message in (
        (torch.ones(2, 7, dtype=torch.int32), None, r"\(2, 7\) do not fit weights of K=8"),
        (torch.ones(8, dtype=torch.int32), None, "do not fit"),
        (torch.ones(3, 8, dtype=torch.int32), None, "3 tokens do not fit the decode engine: it takes up to 2"),
        (torch.ones(0, 8, dtype=torch.int32), None, "cannot be packed"),
        (torch.full((2, 8), -129, dtype=torch.int32), None, "do not fit 8 bits"),
        (torch.ones(2, 8), None, "integers are needed"),
        (good, 0, "N=0 is out of range: it must be a whole number from 1 to M=4"),
        (good, 5, "N=5 is out of range"),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            driver.run(x, region, keep=keep)
        assert "\n" not in str(error.value)
    driver.run(good, region, keep=4)


def test_union_rows() -> None:
    mask = torch.tensor([[True, False, False, True], [True, False, True, False]])
    assert union_rows(mask) == 3
    assert union_rows(mask[:1]) == 2
