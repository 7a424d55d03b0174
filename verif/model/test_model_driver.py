"""The driver and its packets, against an engine in plain Python; and the memory-mapped back end, on plain files."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_engine import FakeEngine
from flexnm_model import packing
from flexnm_model.device import MappedDevice
from flexnm_model.driver import DeviceError, LinearDriver
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.requantize import from_scales, requantize
from flexnm_rtl.config import Config, ConfigError
from flexnm_rtl.registers import BY_NAME

CONFIGS = {
    "n2m4": Config(n_keep=2, m_group=4, rows=2, cols=3, lanes=1, k_max=64, t_max=4),
    "n8m16-index": Config(n_keep=8, m_group=16, rows=3, cols=2, lanes=8, k_max=64, t_max=12, metadata="index"),
    "n3m5-odd-widths": Config(
        n_keep=3, m_group=5, rows=2, cols=4, lanes=3, k_max=64, t_max=8, act_width=6, weight_width=5
    ),
    "n4m4-w16": Config(n_keep=4, m_group=4, rows=1, cols=2, lanes=2, k_max=64, t_max=3, act_width=16, weight_width=16),
}


def operands(cfg: Config, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random x (T, K) and w (O, K), T beyond what a job holds now and then."""
    rng = random.Random(seed)
    t, k, o = rng.randint(1, 2 * cfg.tokens_max), rng.randint(1, cfg.k_max), rng.randint(1, 3 * cfg.cols)
    generator = torch.Generator().manual_seed(seed)
    half_x, half_w = 1 << (cfg.act_width - 1), 1 << (cfg.weight_width - 1)
    x = torch.randint(-half_x, half_x, (t, k), generator=generator, dtype=torch.int32)
    return x, torch.randint(-half_w, half_w, (o, k), generator=generator, dtype=torch.int32)


@pytest.mark.parametrize("mode", ["sparse", "dense", "compressed"])
@pytest.mark.parametrize("name", CONFIGS)
def test_jobs_of_all_shapes(name: str, mode: str) -> None:
    cfg = CONFIGS[name]
    engine = FakeEngine(cfg)
    driver = LinearDriver(engine, cfg)
    for seed in range(6):
        x, w = operands(cfg, seed)
        result = driver.run(x, driver.prepare(w), dense=mode == "dense", compressed=mode == "compressed")
        expected = (dense_matmul if mode == "dense" else sparse_matmul)(x, w, cfg)
        assert torch.equal(result.results, expected)
    most = cfg.tokens_max_dense if mode == "dense" else cfg.tokens_max
    assert max(job["tokens"] for job in engine.jobs) <= most
    assert len(engine.jobs) > 6


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("scale", [True, False])
def test_parameters_travel_with_the_weights(name: str, scale: bool) -> None:
    cfg = CONFIGS[name]
    driver = LinearDriver(FakeEngine(cfg), cfg)
    x, w = operands(cfg, 3)
    factors = torch.linspace(0.001, 0.02, w.shape[0], dtype=torch.float64)
    r = from_scales(factors, torch.arange(w.shape[0]) - 2)
    got = driver.run(x, driver.prepare(w, r), requantize=scale).results
    sums = sparse_matmul(x, w, cfg)
    expected = requantize(sums, r, cfg.act_width) if scale else sums + r.bias
    assert torch.equal(got, expected)
    assert not torch.equal(got, sums)


def test_counters_add_up_over_jobs() -> None:
    cfg = CONFIGS["n2m4"]
    driver = LinearDriver(FakeEngine(cfg), cfg)
    w = driver.prepare(torch.ones(3, 8, dtype=torch.int32))
    assert driver.run(torch.ones(2 * cfg.tokens_max, 8, dtype=torch.int32), w).counters["cycles"] == 14


def test_errors_of_the_engine_become_one_line() -> None:
    cfg = CONFIGS["n2m4"]
    engine = FakeEngine(cfg)
    driver = LinearDriver(engine, cfg)
    engine.errors_after_job = BY_NAME["errors"].encode(acts_short=1, weights_long=1)
    w = driver.prepare(torch.ones(3, 8, dtype=torch.int32))
    with pytest.raises(DeviceError, match="acts_short, weights_long"):
        driver.run(torch.ones(2, 8, dtype=torch.int32), w)
    engine.errors_after_job = 0
    driver.run(torch.ones(2, 8, dtype=torch.int32), w)  # the flags were cleared


def test_another_engine_is_refused() -> None:
    cfg = CONFIGS["n2m4"]
    with pytest.raises(DeviceError, match=r"another configuration.*rows"):
        LinearDriver(FakeEngine(cfg), cfg.replace(rows=4, t_max=8))
    engine = FakeEngine(cfg)
    engine.words["id"] = 0xDEADBEEF
    with pytest.raises(DeviceError, match="0xdeadbeef"):
        LinearDriver(engine, cfg)


def test_operands_that_do_not_fit() -> None:
    cfg = CONFIGS["n2m4"]
    driver = LinearDriver(FakeEngine(cfg), cfg)
    with pytest.raises(ConfigError, match="K=65 exceeds"):
        driver.prepare(torch.ones(3, 65, dtype=torch.int32))
    w = driver.prepare(torch.ones(3, 8, dtype=torch.int32))
    for x, message in (
        (torch.ones(2, 7, dtype=torch.int32), "do not fit"),
        (torch.full((2, 8), 128, dtype=torch.int32), "do not fit 8 bits"),
        (torch.ones(0, 8, dtype=torch.int32), "cannot be packed"),
        (torch.ones(2, 8), "integers are needed"),
    ):
        with pytest.raises(ConfigError, match=message):
            driver.run(x, w)
    with pytest.raises(ConfigError, match="needs its parameters"):
        driver.run(torch.ones(2, 8, dtype=torch.int32), w, requantize=True)
    with pytest.raises(ConfigError, match="2 parameter words for 3 outputs"):
        packing.pack_weights(torch.ones(3, 8, dtype=torch.int32), cfg, [0, 0])
    with pytest.raises(ConfigError, match="7 bytes does not fit"):
        packing.unpack_results(np.zeros(7, dtype=np.uint8), 1, 1, cfg)


def test_packets_of_a_known_job() -> None:
    """Two tokens, five channels, one output, 2:4: the bytes written out."""
    cfg = Config(n_keep=2, m_group=4, rows=2, cols=2, lanes=1, k_max=64)
    x = torch.tensor([[1, -2, 3, -4, 5], [6, 7, 8, 9, -10]])
    first = [1, 254, 3, 252, 6, 7, 8, 9]
    second = [5, 0, 0, 0, 246, 0, 0, 0]
    assert packing.pack_acts(x, cfg).tolist() == first + second
    w = torch.tensor([[1, 2, 3, 4, -1]])
    word = 0x0102_0304_0506_0708
    header = [8, 7, 6, 5, 0, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0]
    body = [1, 2, 3, 4, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0]
    assert packing.pack_weights(w, cfg, [word]).tolist() == header + body
    results = np.arange(8, dtype="<i4").view(np.uint8)
    assert packing.unpack_results(results, 2, 4, cfg).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_mapped_device(tmp_path: Path) -> None:
    """Registers in a file, streams as pipes with an engine at their other ends."""
    cfg = CONFIGS["n2m4"]
    fake = FakeEngine(cfg)
    base = 0x1100  # inside the second page
    registers = tmp_path / "registers"
    page = bytearray(0x2000)
    for name, word in fake.words.items():
        start = base + BY_NAME[name].offset
        page[start : start + 4] = word.to_bytes(4, "little")
    registers.write_bytes(page)
    pipes = {name: tmp_path / name for name in ("acts", "weights", "results")}
    for pipe in pipes.values():
        os.mkfifo(pipe)
    device = MappedDevice(registers, **pipes, base=base)
    driver = LinearDriver(device, cfg)
    x, w = torch.tensor([[1, -2, 3, 4, 9]]), torch.tensor([[1, 2, 3, 4, 5], [1, 1, 1, 1, 1]])

    def engine() -> None:
        packets = [np.frombuffer(pipes[name].read_bytes(), dtype=np.uint8) for name in ("acts", "weights")]
        for register in BY_NAME.values():
            fake.words[register.name] = device.read(register.offset)
        fake.words["errors"] = 0
        pipes["results"].write_bytes(fake.transfer(packets[0], packets[1], 3 * 4).tobytes())

    other_side = threading.Thread(target=engine)
    other_side.start()
    device.write(BY_NAME["errors"].offset, 0)
    # A file has no register that clears itself: run the job without the driver's own clearing.
    driver._write = lambda name, value: None if name == "errors" else LinearDriver._write(driver, name, value)  # type: ignore[method-assign]
    result = driver.run(x, driver.prepare(w)).results
    other_side.join()
    assert torch.equal(result, sparse_matmul(x, w, cfg))
    (job,) = fake.jobs
    assert {name: value for name, value in job.items() if value} == {"tokens": 1, "channels": 5, "outputs": 2}
    device.close()
    with pytest.raises(ConfigError, match="cannot be mapped"):
        MappedDevice(tmp_path / "nothing", **pipes)
