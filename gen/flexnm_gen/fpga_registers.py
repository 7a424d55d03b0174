"""What Yosys leaves unused of ECP5's multipliers and block RAMs: registers of their own, and zeros in place of signs.

Without the registers, flip-flops stand in front of and behind every block, with wires in between and, behind a block
RAM, its slow output. Ports and parameters have the names of Lattice's FPGA-TN-02205 (multipliers) and FPGA-TN-02204
(memories). Imports nothing but Yosys, like ``flexnm_gen.fpga_map``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from pyosys import libyosys as ys

Bit = tuple[str, int]
"""A bit of a net: name of its wire and index. A constant has its state for a name and the index -1."""

_ZERO: Bit = ("0", -1)
_ONE: Bit = ("1", -1)
_ANY: Bit = ("x", -1)
_FULL_WIDTH = 36
"""Width at which port A of a block RAM only writes and port B only reads, through the pins of both."""


class _Bank(NamedTuple):
    """Flip-flops that a bank of registers can replace, by the pin of the block that they stand at."""

    flip_flops: dict[str, Any]
    clock: Any
    enable: Any


def pack_registers(module: Any) -> None:
    """Move flip-flops of a flat, mapped module for ECP5 into the multipliers and block RAMs that they stand at.

    Signed operands of multipliers move to the upper ends of their ports, so that no sign has to be repeated. A bank of
    registers is used where each of its bits in use comes from, or goes to, a flip-flop that feeds, or reads, nothing
    else; all of them with one clock and one enable, without reset, and with 0 to start from.
    """
    netlist = _Netlist(module)
    for cell in netlist.cells["MULT18X18D"]:
        _align(netlist, cell)
        _pack_multiplier(netlist, cell)
    for cell in netlist.cells["DP16KD"]:
        _pack_memory(netlist, cell)


def _align(netlist: _Netlist, cell: Any) -> None:
    """Shift signed operands to the upper ends of their ports, and the product with them; below are zeros.

    At the lower ends a wire leads to every pin that repeats a sign: to 22 of 36, for two operands of 8 bits.
    """
    ports = {port: [cell.getPort(_id(pin)) for pin in _pins(port, 18)] for port in "AB"}
    shifts = {port: _repeated(pins) if _at(cell, f"SIGNED{port}") == _ONE else 0 for port, pins in ports.items()}
    product = {k: cell.getPort(_id(f"P{k}")) for k in range(36) if netlist.is_read(cell, f"P{k}")}
    if max(product, default=0) + sum(shifts.values()) > 35:
        return
    for port, pins in ports.items():
        for k in range(18):
            above = k - shifts[port]
            cell.setPort(_id(f"{port}{k}"), pins[above] if above >= 0 else ys.SigSpec(False))
    for pin in _pins("P", 36):
        cell.unsetPort(_id(pin))
    for k, signal in product.items():
        cell.setPort(_id(f"P{k + sum(shifts.values())}"), signal)


def _repeated(pins: list[Any]) -> int:
    """How often the uppermost bit stands below itself."""
    bits = [_bit(pin) for pin in reversed(pins)]
    return next((k for k, bit in enumerate(bits) if bit != bits[0]), len(bits)) - 1


def _pack_multiplier(netlist: _Netlist, cell: Any) -> None:
    """All banks on ``CLK0``, and the operands' both or none: nextpnr has no delays for anything else.

    Banks with the same enable share its pin, because constants have to be routed to these pins. nextpnr would leave the
    enable of a product out of a bitstream.
    """
    product = netlist.behind(cell, _pins("P", 36))
    first, second = (netlist.before(cell, _pins(port, 18)) for port in "AB")
    banks = {"OUTPUT": product} if product else {}
    if first and second:
        banks |= {"INPUTA": first, "INPUTB": second}
    if len({_bit(bank.clock) for bank in banks.values()}) > 1:
        return
    netlist.absorb(cell, banks.values())
    enables: dict[Bit, str] = {}
    for name, bank in banks.items():
        enable = enables.setdefault(_bit(bank.enable), f"CE{len(enables)}")
        ports = {"CLK": ("CLK0", bank.clock), "CE": (enable, bank.enable), "RST": ("RST0", ys.SigSpec(False))}
        for kind, (port, signal) in ports.items():
            cell.setPort(_id(port), signal)
            cell.setParam(_id(f"REG_{name}_{kind}"), ys.Const(port))


def _pack_memory(netlist: _Netlist, cell: Any) -> None:
    outputs = {port: _pins(f"DO{port}", 18) for port in "AB"}
    if cell.getParam(_id("DATA_WIDTH_A")).as_int() == _FULL_WIDTH:
        outputs = {"B": outputs["A"] + outputs["B"]}
    for port, pins in outputs.items():
        usable = _text(cell, f"CLK{port}MUX") == f"CLK{port}" and _at(cell, f"RST{port}") == _ZERO
        bank = netlist.behind(cell, pins) if usable else None
        if bank is None or _bit(bank.clock) != _at(cell, f"CLK{port}"):
            continue
        netlist.absorb(cell, [bank])
        cell.setPort(_id(f"OCE{port}"), bank.enable)
        for name in port if len(outputs) == 2 else "AB":
            cell.setParam(_id(f"REGMODE_{name}"), ys.Const("OUTREG"))


class _Netlist:
    """Who drives and who reads each bit of a flat module, kept true while flip-flops disappear.

    ``cells``: by type, as they were in the beginning. Yosys frees a cell that is removed: nobody may ask it anything
    afterwards, not even its name, so cells are compared by identity.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self.cells: dict[str, list[Any]] = defaultdict(list)
        self._driver: dict[Bit, Any] = {}
        self._readers: dict[Bit, list[tuple[Any, str]]] = defaultdict(list)
        for cell in module.cells_.values():
            self.cells[_name(cell.type)].append(cell)
            for port, signal in cell.connections_.items():
                for bit in map(_bit, signal.bits()):
                    if cell.output(port):
                        self._driver[bit] = cell
                    else:
                        self._readers[bit].append((cell, _name(port)))
        for wire in module.wires_.values():
            if wire.port_output:
                for bit in ys.SigSpec(wire).bits():
                    self._readers[_bit(bit)].append((None, ""))
        for target, source in module.connections_:
            for left, right in zip(target.bits(), source.bits(), strict=True):
                if left.wire.port_output:
                    self._readers[_bit(right)].append((None, ""))

    def is_read(self, cell: Any, pin: str) -> bool:
        """Whether anything reads an output pin of a cell."""
        return cell.hasPort(_id(pin)) and bool(self._readers[_at(cell, pin)])

    def behind(self, cell: Any, pins: list[str]) -> _Bank | None:
        """The flip-flops behind output pins of a cell, where they and nothing else read them."""
        found = {}
        for pin in pins:
            if not self.is_read(cell, pin):
                continue
            readers = self._readers[_at(cell, pin)]
            reader, port = readers[0]
            if len(readers) > 1 or port != "DI" or not _plain(reader):
                return None
            found[pin] = reader
        return _bank(found)

    def before(self, cell: Any, pins: list[str]) -> _Bank | None:
        """The flip-flops in front of operand pins of a multiplier, where they feed nothing else but its operands."""
        found = {}
        for pin in pins:
            bit = _at(cell, pin)
            if bit in (_ZERO, _ANY):
                continue
            driver = self._driver.get(bit)
            if driver is None or not _plain(driver):
                return None
            if not all(reader is cell and port[0] in "AB" for reader, port in self._readers[bit]):
                return None
            found[pin] = driver
        return _bank(found)

    def absorb(self, cell: Any, banks: Any) -> None:
        """Connect the pins of a cell past their flip-flops, which go."""
        gone = {}
        for bank in banks:
            for pin, flip_flop in bank.flip_flops.items():
                output = cell.output(_id(pin))
                far = flip_flop.getPort(_id("Q" if output else "DI"))
                cell.setPort(_id(pin), far)
                if output:
                    self._driver[_bit(far)] = cell
                else:
                    self._readers[_bit(far)].append((cell, pin))
                gone[_name(flip_flop.name)] = flip_flop
        for flip_flop in gone.values():
            data = _at(flip_flop, "DI")
            self._readers[data] = [reader for reader in self._readers[data] if reader[0] is not flip_flop]
            self._module.remove(flip_flop)


def _bank(flip_flops: dict[str, Any]) -> _Bank | None:
    """A bank of flip-flops, if there are any and they share clock and enable."""
    found = [(cell.getPort(_id("CLK")), _enable(cell)) for cell in flip_flops.values()]
    if len({(_bit(clock), _bit(enable)) for clock, enable in found}) != 1:
        return None
    return _Bank(flip_flops, *found[0])


def _plain(cell: Any) -> bool:
    """Whether a cell is a flip-flop without reset that starts from 0 and takes its data at the rising edge."""
    return (
        cell is not None
        and _name(cell.type) == "TRELLIS_FF"
        and not cell.has_keep_attr()
        and (_text(cell, "CLKMUX"), _text(cell, "REGSET")) == ("CLK", "RESET")
        and _at(cell, "LSR") == _ZERO
        and _text(cell, "CEMUX") in ("1", "CE")
    )


def _enable(cell: Any) -> Any:
    return cell.getPort(_id("CE")) if _text(cell, "CEMUX") == "CE" else ys.SigSpec(True)


def _id(name: str) -> Any:
    return ys.IdString(f"\\{name}")


def _name(identifier: Any) -> str:
    return str(identifier.str()).removeprefix("\\")


def _text(cell: Any, parameter: str) -> str:
    return str(cell.getParam(_id(parameter)).decode_string()).strip()


def _pins(port: str, width: int) -> list[str]:
    return [f"{port}{index}" for index in range(width)]


def _at(cell: Any, pin: str) -> Bit:
    """What a pin of one bit is connected to."""
    return _bit(cell.getPort(_id(pin)))


def _bit(signal: Any) -> Bit:
    """The only bit of a signal."""
    bit = signal.bits()[0] if isinstance(signal, ys.SigSpec) else signal
    if bit.is_wire():
        return _name(bit.wire.name), bit.offset
    return {"S0": "0", "S1": "1"}.get(bit.data.name, "x"), -1
