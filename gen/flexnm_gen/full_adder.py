"""The full-adder cell of a library, found by its functions, and how Yosys's ``$fa`` becomes one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flexnm_gen.liberty import Library, cell_functions

_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*|[01])|(.))")
_CARRY = tuple(int(i.bit_count() >= 2) for i in range(8))
_SUM = tuple(i.bit_count() & 1 for i in range(8))
_INVERTED = {False: "", True: "~"}


@dataclass(frozen=True)
class FullAdder:
    """A cell: three ``inputs``, the pins of carry and sum, and whether each of them is inverted."""

    cell: str
    inputs: tuple[str, ...]
    carry: str
    carry_inverted: bool
    sum: str
    sum_inverted: bool

    @property
    def techmap(self) -> str:
        """Verilog for Yosys's ``techmap``: ``$fa``, whose X is the carry and Y the sum, as instances of the cell."""
        inputs = ", ".join(f".{pin}({net}[i])" for pin, net in zip(self.inputs, "ABC", strict=True))
        return f"""(* techmap_celltype = "$fa" *)
module flexnm_full_adder(A, B, C, X, Y);
  parameter WIDTH = 1;
  input [WIDTH-1:0] A, B, C;
  output [WIDTH-1:0] X, Y;
  genvar i;
  generate for (i = 0; i < WIDTH; i = i + 1) begin : bits
    wire carry, total;
    {self.cell} cell_ ({inputs}, .{self.carry}(carry), .{self.sum}(total));
    assign X[i] = {_INVERTED[self.carry_inverted]}carry;
    assign Y[i] = {_INVERTED[self.sum_inverted]}total;
  end endgenerate
endmodule
"""


def full_adder(library: Library) -> FullAdder | None:
    """The smallest cell with three inputs and nothing but their majority and parity as outputs, inverted or not."""
    found = []
    for name, (inputs, functions) in cell_functions(library).items():
        if len(inputs) != 3 or len(functions) != 2 or library.cells[name].sequential:
            continue
        tables = {pin: _table(function, inputs) for pin, function in functions.items()}
        carry, total = (
            [(pin, inverted) for pin, table in tables.items() if (inverted := _inverse(table, of)) is not None]
            for of in (_CARRY, _SUM)
        )
        if carry and total:
            found.append(FullAdder(name, inputs, *carry[0], *total[0]))
    return min(found, key=lambda cell: (library.cells[cell.cell].area, cell.cell), default=None)


def _inverse(table: tuple[int, ...] | None, wanted: tuple[int, ...]) -> bool | None:
    """Whether a table is the inverse of the wanted one; None when it is neither."""
    return False if table == wanted else True if table == tuple(1 - bit for bit in wanted) else None


def _table(function: str, inputs: tuple[str, ...]) -> tuple[int, ...] | None:
    """Truth table, input k the weight 2^k; None for a function with other names in it or that cannot be read."""
    try:
        return tuple(evaluate(function, {pin: i >> k & 1 for k, pin in enumerate(inputs)}) for i in range(8))
    except (KeyError, ValueError):
        return None


def evaluate(function: str, values: Mapping[str, int]) -> int:
    """A Liberty function of one-bit values: ``!`` or ``'`` binds tightest, then ``^``, ``&``, ``|``.

    ``*`` and a blank are written for ``&``, ``+`` for ``|``. Raises KeyError for an unknown name, ValueError for text
    that is no function.
    """
    tokens = [name or mark for name, mark in _TOKEN.findall(function.rstrip())][::-1]

    def chain(below: Callable[[], int], marks: str, step: Callable[[int, int], int], implied: bool = False) -> int:
        result = below()
        while tokens and (tokens[-1] in marks or (implied and (tokens[-1] in "!(" or tokens[-1][0].isalnum()))):
            if tokens[-1] in marks:
                tokens.pop()
            result = step(result, below())
        return result

    def unary() -> int:
        token = tokens.pop() if tokens else ""
        if token == "!":
            result = 1 - unary()
        elif token == "(":
            result = anything()
            if not tokens or tokens.pop() != ")":
                raise ValueError(f"{function} has a parenthesis that does not end")
        elif token in ("0", "1"):
            result = int(token)
        elif re.match(r"\w", token):
            result = values[token]
        else:
            raise ValueError(f"{function} is no function")
        while tokens and tokens[-1] == "'":
            tokens.pop()
            result = 1 - result
        return result

    def exclusive() -> int:
        return chain(unary, "^", lambda a, b: a ^ b)

    def both() -> int:
        return chain(exclusive, "&*", lambda a, b: a & b, implied=True)

    def anything() -> int:
        return chain(both, "|+", lambda a, b: a | b)

    result = anything()
    if tokens:
        raise ValueError(f"{function} is no function")
    return result
