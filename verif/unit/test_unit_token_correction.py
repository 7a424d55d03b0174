"""TokenCorrection against the model's rule: all hardware and modes, ties, extremes, stages enabled at any time."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from amaranth.hdl import Cat, Module, Signal
from flexnm_model import token_methods
from flexnm_rtl.config import GAIN_FRACTION, GAIN_WIDTH, MAX_K, Config
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.token_correction import TokenCorrection
from unit_tools import Flow, Streams, pack, run_streams, unpack

METHODS = ("static_shift", "token_shift", "variance")
SUBSETS = [subset for n in (1, 2, 3) for subset in itertools.combinations(METHODS, n)]
SIZES = {
    "w4": Config(act_width=4, weight_width=4, k_max=16),
    "w8": Config(),
    "w16, largest": Config(act_width=16, weight_width=16, k_max=MAX_K),
}
ONE, TOP = 1 << GAIN_FRACTION, (1 << GAIN_WIDTH) - 1
Result = tuple[int, int, int]
"""Total, bias, the rest of the output's parameters."""


def config(size: str, subset: tuple[str, ...]) -> Config:
    """With bits of fraction where they are possible."""
    cfg = SIZES[size].replace(**dict.fromkeys(subset, True))
    return cfg.replace(fraction_bits=3) if cfg.shifts and cfg.act_width < 16 else cfg


@dataclass
class Item:
    """A sum, what is known of its token and of its output."""

    sum: int
    exponent: int = 0
    eta: int = 0
    gain: int = ONE
    bias: int = 0
    row_sum: int = 0
    rest: int = 0


def edges(cfg: Config) -> list[Item]:
    """The largest operands, and halves of both signs with their neighbours in both roundings."""
    sums = [-(1 << (cfg.acc_width - 1)), (1 << (cfg.acc_width - 1)) - 1, 0, 1, -1]
    etas = [-(1 << cfg.value_width), (1 << cfg.value_width) - 1, 0]
    top = 1 << (cfg.row_sum_width - 1)
    biases = [-(1 << 31), (1 << 31) - 1]
    items = [
        Item(s, e, eta, gain, bias, row)
        for (s, eta, gain, row), (e, bias) in zip(
            itertools.product(sums, etas, (0, 1, ONE, TOP), (-top, top - 1)),
            itertools.cycle(itertools.product((0, 1, 15), biases)),
            strict=False,
        )
    ]
    for places in (1, 2, 5, GAIN_FRACTION, 15):
        for odd, beside in itertools.product((1, 3, -1, -3, 5), (-1, 0, 1)):
            bias = odd * (1 << (places - 1)) + beside
            gain = ONE >> places if places <= GAIN_FRACTION else ONE
            items += [Item(odd, places, 1, gain, bias, 1), Item(odd, places, 1, ONE, bias, -1)]
            items.append(Item(odd * (1 << (cfg.acc_width - 4)) + beside, 0, 0, ONE + (ONE >> 1)))
    return items


def randoms(cfg: Config, count: int) -> list[Item]:
    rng = random.Random(cfg.acc_width)

    def number(width: int) -> int:
        bits = rng.randint(1, width)
        return rng.randrange(-(1 << bits >> 1), 1 << bits >> 1)

    return [
        Item(
            number(cfg.acc_width),
            rng.randrange(16),
            number(cfg.shift_width),
            rng.choice((ONE, rng.getrandbits(rng.randint(1, GAIN_WIDTH)), TOP)),
            number(32),
            number(cfg.row_sum_width),
            rng.getrandbits(32),
        )
        for _ in range(count)
    ]


def expected(items: list[Item], mode: dict[str, bool]) -> list[Result]:
    results = []
    for item in items:
        total, bias = torch.tensor([[item.sum]]), torch.tensor([item.bias])
        if mode["variance"]:
            total = token_methods.apply_gain(total, torch.tensor([item.gain]))
        if mode["token_shift"]:
            total = total + item.eta * item.row_sum
        bias = token_methods.token_bias(bias, torch.tensor([item.exponent]) if mode["static_shift"] else None)
        results.append((int(total), int(bias), item.rest))
    return results


def run(cfg: Config, items: list[Item], mode: dict[str, bool], **stalls: Any) -> tuple[list[Result], Flow]:
    """Results of the pipeline; what belongs to an output comes from a memory's port."""
    rng = random.Random(1)
    m = Module()
    m.submodules.control = control = StageControl(TokenCorrection.latency)
    m.submodules.unit = unit = TokenCorrection(cfg)
    ports = {"sum": "sum", "exponent": "exponent", "shift": "eta", "gain": "gain"}
    there = {port: name for port, name in ports.items() if hasattr(unit, port)}
    direct = Cat(getattr(unit, port) for port in there)
    payload = Signal(len(direct) + cfg.parameter_bits)
    m.d.comb += [
        unit.enable.eq(control.enable),
        direct.eq(payload[: len(direct)]),
        unit.parameters.eq(delay(m, control.enable[:1], payload[len(direct) :], "looked_up")),
        *(getattr(unit, name).eq(value) for name, value in mode.items() if hasattr(unit, name)),
    ]
    words = []
    for item in items:
        word, place = 0, 0
        for port, name in there.items():
            word |= pack([getattr(item, name)], len(getattr(unit, port))) << place
            place += len(getattr(unit, port))
        parameters = pack([item.bias], 32) | item.rest << 32 | pack([item.row_sum], 32) << 64
        garbage = rng.getrandbits(32) << 96  # nothing is said of these bits
        words.append(word | ((parameters | garbage) & ((1 << cfg.parameter_bits) - 1)) << place)
    output = Cat(unit.total, unit.output_parameters)
    streams = Streams(control.i_valid, control.i_ready, payload, control.o_valid, control.o_ready, output)
    flow = run_streams(m, streams, words, len(words), **stalls)
    width = cfg.total_width
    return [
        (unpack(word, width, 1)[0], unpack(word >> width, 32, 1)[0], word >> (width + 32)) for word in flow.received
    ], flow


def modes(subset: tuple[str, ...]) -> list[dict[str, bool]]:
    """Each mode on and off, as far as there is hardware."""
    choices = [(False, True) if name in subset else (False,) for name in METHODS]
    return [dict(zip(METHODS, chosen, strict=True)) for chosen in itertools.product(*choices)]


@pytest.mark.parametrize("subset", SUBSETS, ids="-".join)
@pytest.mark.parametrize("size", SIZES)
def test_totals_and_latency(size: str, subset: tuple[str, ...]) -> None:
    cfg = config(size, subset)
    items = edges(cfg) + randoms(cfg, 60)
    for mode in modes(subset) if size == "w8" else modes(subset)[-1:]:
        got, flow = run(cfg, items, mode)
        assert got == expected(items, mode), mode
        assert flow.sent == list(range(len(items)))
        assert flow.taken == [cycle + 3 for cycle in flow.sent]


@pytest.mark.parametrize("subset", SUBSETS, ids="-".join)
@pytest.mark.parametrize("offer, take", [(0.5, 0.5), (0.9, 0.3), (0.3, 0.9)])
def test_stages_that_wait_for_each_other(offer: float, take: float, subset: tuple[str, ...]) -> None:
    cfg = config("w8", subset)
    items = randoms(cfg, 60)
    mode = modes(subset)[-1]
    got, _ = run(cfg, items, mode, offer=offer, take=take)
    assert got == expected(items, mode)


def test_the_stimuli_reach_what_they_are_for() -> None:
    """Halves up and down, of both signs, of sums with a gain and of biases with an exponent."""
    items = edges(config("w8", METHODS))
    products = {item.sum * item.gain for item in items}
    ties = {(p > 0, p >> GAIN_FRACTION & 1) for p in products if p % ONE == ONE >> 1}
    assert len(ties) == 4
    divided = {(item.bias, item.exponent) for item in items if item.exponent}
    assert len({(bias > 0, bias >> e & 1) for bias, e in divided if bias % (1 << e) == 1 << (e - 1)}) == 4


def test_sums_of_weights_take_the_bits_that_the_parameters_have() -> None:
    """The sum of weights is a signed field of 32 bits even where ``k_max`` weights could need more."""
    assert config("w16, largest", METHODS).row_sum_width == 32
    assert config("w8", METHODS).row_sum_width == 23
