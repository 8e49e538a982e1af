"""All benchmarks, and the table in README: ``python -m benchmarks [--quick] [NAME...]``.

Each benchmark runs by itself, one after the other. What it found is kept in
``runs/benchmarks/NAME.json`` with machine and date, beside a figure, and takes the place of its
rows in README's table, where those of all others stay. A busy machine is refused: its figures
would be those of something else. The last names are runs whose skill is read; where a run is not
there, its benchmark says which command makes it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from figures import Figure  # noqa: E402 - the scripts import each other as scripts
from kept_results import FIGURES as KEPT_RUNS  # noqa: E402
from machine import QUIET_SHARE, busy_share, describe_machine  # noqa: E402
from readme_table import updated  # noqa: E402

KEPT = HERE.parent / "runs/benchmarks"
README = HERE.parent / "README.md"
# In the order of the issues they belong to; those without --quick are quick.
NAMES = (
    "loader",
    "build",
    "start_up",
    "throughput",
    "forecast",
    "step",
    "scaling",
    "checkpoint",
    "heterogeneous",
    "dynamic_shares",
    "share_rules",
    "heads",
    "placements",
    "transfer",
    "skill_ranks",
    "left_out_radars",
    "rolling_days",
    "spark_predict",
    *KEPT_RUNS,
)
ALWAYS_WHOLE = ("dynamic_shares", *KEPT_RUNS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--no-readme", action="store_true", help="leave README as it is")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}: choose from {', '.join(NAMES)}")
    if (share := busy_share()) > QUIET_SHARE:
        print(f"the machine is busy: {share:.0%} of its cores are used. Try again when it is idle")
        return 1
    failed = []
    for name in options.names or NAMES:
        found = run(name, options.quick)
        if found is None:
            failed.append(name)
        elif not options.no_readme:
            README.write_text(updated(README.read_text(), [found], NAMES))
    for name in failed:
        print(f"{name} failed: see above", file=sys.stderr)
    return len(failed)


def run(name: str, quick: bool) -> dict[str, Any] | None:
    """Run a benchmark and keep what it found; None when it failed."""
    print(f"\n== {name}", flush=True)
    script = ["kept_results.py", name] if name in KEPT_RUNS else [f"{name}.py"]
    command = [sys.executable, str(HERE / script[0]), *script[1:]]
    command += ["--quick"] if quick and name not in ALWAYS_WHOLE else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = ""
    for line in process.stdout:
        if not line.startswith("{"):
            print(line, end="", flush=True)
    if process.wait():
        return None
    found: dict[str, Any] = json.loads(line)
    found |= {
        "name": name,
        "machine": describe_machine(),
        "date": f"{datetime.date.today()}",
        "quick": quick,
    }
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, KEPT / f"{name}.png")
    return found


def draw(found: dict, path: Path) -> None:
    """A bar with its spread for each figure, its ceiling, and what is wanted."""
    from hvd_nowcast.plots.style import new_figure, save_figure

    figures = [one for one in (Figure(**one) for one in found["figures"]) if one.value is not None]

    def bars():  # noqa: ANN202 - a figure of matplotlib
        figure = new_figure(8, 1.0 + 0.6 * len(figures))
        axes = figure.subplots()
        for row, one in enumerate(figures):
            axes.barh(row, one.value, height=0.5, color="tab:blue" if one.met else "tab:orange")
            axes.plot([one.least, one.most], [row, row], color="black", linewidth=1.5)
            for limit, style in ((one.at_least, "-"), (one.at_most, "-"), (one.ceiling, ":")):
                if limit is not None:
                    axes.vlines(limit, row - 0.35, row + 0.35, color="black", linestyles=style)
        axes.set_yticks(range(len(figures)), [one.title for one in figures], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("measured, and its spread; solid line: wanted; dotted line: ceiling")
        axes.set_title(f"{found['name']}, {found['date']}, {found['machine']}", fontsize=8)
        return figure

    save_figure(bars, path)


if __name__ == "__main__":
    sys.exit(main())
