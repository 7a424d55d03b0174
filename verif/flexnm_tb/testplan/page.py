"""The page of the plan: by document and section, each promise, what holds it, and what is known of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from flexnm_tb.testplan.plan import Plan
from flexnm_tb.testplan.state import FAILED, NOT_RUN, PASSED, Held, Holder

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>flexnm: promises and what holds them</title>
<style>body{font:15px/1.45 system-ui,sans-serif;max-width:82rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}
th,td{padding:.3rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}q{display:block}
small{color:#666}ul{margin:0;padding-left:1rem}code{font-size:85%;overflow-wrap:anywhere}
.passed{color:#1b7837}.failed{color:#b00020;font-weight:bold}.not-run{color:#777}</style></head><body>
<h1>Promises and what holds them</h1>
<p>Every section of the documents either promises something, or says nothing that could be tested. Tests: those of
this run. Proofs and campaigns: by their last reports in <code>build</code>. A promise fails if anything that holds it
failed; it is held if all its tests passed, or, where it has none, all its proofs and campaigns.</p>
"""


def render(plan: Plan, promises: Sequence[Held]) -> str:
    """The whole page, without any file beside it."""
    parts = [_HEAD, _summary(plan, promises)]
    for document in plan.documents:
        rows = [held for held in promises if held.promise.document == document]
        parts.append(f'<h2 id="{escape(document)}">{escape(document)}</h2>')
        parts.append("<table><tr><th>section</th><th>promise</th><th>held by</th><th>state</th></tr>")
        parts += map(_row, rows)
        parts.append("</table>")
        silent = [entry for entry in plan.silent if entry.document == document]
        if silent:
            lines = "".join(f"<li>{escape(entry.section)}: {escape(entry.why)}</li>" for entry in silent)
            parts.append(f"<p>Sections that promise nothing:</p><ul>{lines}</ul>")
    return "\n".join([*parts, "</body></html>\n"])


def counts(promises: Sequence[Held]) -> Counter[str]:
    """Number of promises by state."""
    return Counter(held.state for held in promises)


def _summary(plan: Plan, promises: Sequence[Held]) -> str:
    heads = ("document", "promises", PASSED, FAILED, NOT_RUN)
    rows = ["<tr>" + "".join(f"<th{_number(i)}>{head}</th>" for i, head in enumerate(heads)) + "</tr>"]
    for document in (*plan.documents, "all"):
        chosen = [held for held in promises if document in ("all", held.promise.document)]
        link = "all" if document == "all" else f'<a href="#{escape(document)}">{escape(document)}</a>'
        states = counts(chosen)
        cells = (link, str(len(chosen)), *(str(states[state]) for state in (PASSED, FAILED, NOT_RUN)))
        rows.append("<tr>" + "".join(f"<td{_number(i)}>{cell}</td>" for i, cell in enumerate(cells)) + "</tr>")
    return "<table>" + "".join(rows) + "</table>"


def _number(column: int) -> str:
    return ' class="number"' if column else ""


def _row(held: Held) -> str:
    promise = held.promise
    holders = "".join(map(_holder, held.holders))
    if promise.benches:
        holders += f"<li><small>benches: <code>{escape(', '.join(promise.benches))}</code></small></li>"
    note = f"<br><small>{escape(promise.note)}</small>" if promise.note else ""
    return (
        f"<tr><td>{escape(promise.section)}</td>"
        f"<td><q>{escape(' '.join(promise.text.split()))}</q><small>{escape(promise.id)}</small>{note}</td>"
        f"<td><ul>{holders}</ul></td><td>{_state(held.state)}</td></tr>"
    )


def _holder(holder: Holder) -> str:
    hint = f" <small>({escape(holder.hint)})</small>" if holder.hint else ""
    return f"<li><code>{escape(holder.name)}</code> {_state(holder.state)}{hint}</li>"


def _state(state: str) -> str:
    return f'<span class="{state.replace(" ", "-")}">{state}</span>'
