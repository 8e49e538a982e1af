"""Pieces of HTML: style sheet, tables of facts, figures, and what is missing; all text escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1d2429; --soft: #667078; --paper: #ffffff;
  --line: #dfe4e8; --band: #f4f6f8; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8eb; --soft: #9aa5ad; --paper: #14181b;
  --line: #333b41; --band: #1d2327; --accent: #5cb3e4; } }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 68rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem;
  border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
.soft { color: var(--soft); } .lead { font-size: 1.05rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .22rem .6rem; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } tbody th { font-weight: 400; }
thead tr:last-child th { border-bottom: 1px solid var(--line); }
tbody tr:nth-child(even) { background: var(--band); }
.group { border-left: 1px solid var(--line); } .facts th, .facts td { text-align: left; }
.facts td { white-space: normal; overflow-wrap: anywhere; }
.best { font-weight: 700; color: var(--accent); }
figure { margin: 1rem 0 1.6rem; } figcaption { color: var(--soft); font-size: .88rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; padding: .4rem;
  box-sizing: border-box; border: 1px solid var(--line); }
pre { background: var(--band); padding: .8rem 1rem; border-radius: 6px; overflow-x: auto;
  font-size: .84rem; } code { background: var(--band); padding: .1rem .3rem; border-radius: 3px; }
summary { cursor: pointer; color: var(--accent); margin: .8rem 0 .4rem; }
@media print { body { max-width: none; margin: 0; font-size: 11px; } .wide { overflow: visible; }
  figure, table { break-inside: avoid; } }
"""


def facts_table(facts: Mapping[str, Any]) -> str:
    """Lay out names and values, nested ones in one cell."""
    rows = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(_plain(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def number(value: float | None) -> str:
    """Write a score with three decimals, a dash when it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def value_table(title: str, head: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> str:
    """A table of numbers with a title, a row for each name."""
    cells = [[name, *map(number, values)] for name, values in rows.items()]
    return f"<h3>{escape(title)}</h3>{table(['', *head], cells)}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose rows are named by their first cell."""
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def figure(path: Path, caption: str, command: str) -> str:
    """Embed a PNG; when it is not there, name the command that makes it."""
    if not path.is_file():
        return missing(f"No figure {path.stem}.", command)
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def missing(problem: str, command: str) -> str:
    """Say what is missing and which command makes it."""
    return (
        f'<p class="soft">{escape(problem)} Made by: <code>hvd-nowcast {escape(command)}</code></p>'
    )
