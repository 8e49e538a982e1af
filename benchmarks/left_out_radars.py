"""A radar never seen: ``python benchmarks/left_out_radars.py [--only RADAR] [--quick]``.

For each of four radars (DWD, KNMI, FMI, OpenMRG) a network is trained on the other three and
scored on all frames of the one left out, beside optical flow from the same starts. The table is
CSI at 0.1, 1 and 5 mm/h and MAE at 15, 30 and 60 minutes: ours at or above optical flow is wanted
in 80 % of the cells, and nowhere more than 5 % below. Archives are built from --source when they
are absent; a finished run is not trained again, and a stopped one goes on: give another --runs
for other settings.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from figures import Figure, beside, publish
from trainings import HERE, build, parse, scores, train, training_parser

CONFIG = HERE / "configs/nowcast_radars.yaml"
LEADS = (15, 30, 60)
THRESHOLDS = ("0.1", "1.0", "5.0")
WANTED_SHARE, LARGEST_SHORTFALL = 0.8, 0.05
REASON = "5 mm/h fades where the training radars had little of it"


@dataclass(frozen=True)
class Radar:
    """One archive.

    Attributes
    ----------
    file
        In the folder of sources.
    split
        For a training; DWD's is the demo's.
    every
        Minutes between starts where it is left out, so that there are at least 20 of them.
    """

    file: str
    split: str
    every: int


# DWD and OpenMRG have a day of validation each, so that a training has one whichever is left out.
RADARS = {
    "dwd": Radar(
        "dwd_yw_20180510_rate.nc",
        "train=2018-05-10:2018-05-15,validation=2018-05-15:2018-05-16,test=2018-05-16:2018-05-17",
        60,
    ),
    "knmi": Radar("knmi_20100826_rate.nc", "train=1", 15),
    "fmi": Radar("fmi_20160928_dbz.nc", "train=1", 5),
    "openmrg": Radar(
        "openmrg_20150722_rate.nc",
        "train=2015-07-22:2015-07-29,validation=2015-07-29:2015-07-30",
        60,
    ),
}


@dataclass(frozen=True)
class Cell:
    """One score at one lead time on one radar.

    Attributes
    ----------
    radar, score, minutes
        Which.
    ours, flow
        Of the network and of optical flow.
    """

    radar: str
    score: str
    minutes: int
    ours: float
    flow: float

    @property
    def ratio(self) -> float:
        """Above 1 where ours is better, whether more or less is better of this score."""
        above, below = (self.flow, self.ours) if self.score == "MAE" else (self.ours, self.flow)
        return above / below if below else 1.0


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0])
    parser.add_argument("--only", choices=RADARS, action="append", help="radars to leave out")
    parser.add_argument("--every", type=int, help="minutes between starts, of all radars")
    parser.add_argument("--all", action="store_true", help="train on all of them, score nothing")
    options = parse(parser, "left_out")
    if options.all:
        train_on(RADARS, options.runs / "all", options)
        return
    cells, starts = [], {}
    for name in options.only or RADARS:
        found = unseen_scores(name, options)
        starts[name] = found["starts"]
        cells += cells_of(name, found)
    report(cells, starts)


def unseen_scores(left_out: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train on the other radars and score on this one, as far as it is not done."""
    run, radar = options.runs / left_out, RADARS[left_out]
    train_on([name for name in RADARS if name != left_out], run, options)
    unseen = options.data / "left_out" / left_out
    build(options.source / radar.file, unseen, "test=1")
    every = options.every or radar.every
    return scores(run, unseen, every, run / f"left_out_every_{every}.json")


def train_on(names: Collection[str], run: Path, options: argparse.Namespace) -> None:
    """Train on some radars, whose archives are built where they are not there."""
    folders = [str(options.data / name) for name in names]
    for name, folder in zip(names, folders, strict=True):
        build(options.source / RADARS[name].file, Path(folder), RADARS[name].split)
    train(CONFIG, run, {"data.shards": json.dumps(folders)}, options)


def cells_of(radar: str, found: dict[str, Any]) -> list[Cell]:
    """Cells of one radar; none for an event that is neither forecast nor observed."""
    ours, flow = (found["scores"][source] for source in ("model", "optical_flow"))
    rows = [(f"CSI {threshold}", "csi", threshold) for threshold in THRESHOLDS]
    cells = []
    for score, metric, key in [*rows, ("MAE", "mae", "all")]:
        for minutes in LEADS:
            place = found["lead_minutes"].index(minutes)
            pair = [table[metric][key][place] for table in (ours, flow)]
            if None not in pair:
                cells.append(Cell(radar, score, minutes, *pair))
    return cells


def report(cells: list[Cell], starts: dict[str, int]) -> None:
    """The table, the share of cells at or above optical flow, and the worst."""
    if not cells:
        raise SystemExit("no score is defined: is there rain after the starts?")
    header = "".join(f"{f'{minutes} min':>16}" for minutes in LEADS)
    print(f"ours / optical flow, * below it{header}")
    for radar in starts:
        mine = [cell for cell in cells if cell.radar == radar]
        for score in dict.fromkeys(cell.score for cell in mine):
            row = {
                cell.minutes: beside(cell.ours, cell.flow, cell.ratio >= 1)
                for cell in mine
                if cell.score == score
            }
            values = "".join(f"{row.get(minutes, '-'):>16}" for minutes in LEADS)
            print(f"{radar:<10}{score:<10}{starts[radar]:>4} starts{values}")
    ratios = [cell.ratio for cell in cells]
    share = sum(ratio >= 1 for ratio in ratios) / len(ratios)
    shares = [_share(cells, radar) for radar in starts]
    worst = min(cells, key=lambda cell: cell.ratio)
    print(f"worst: {worst.radar}, {worst.score} at {worst.minutes} minutes")
    figures = [
        Figure(
            "radars left out: share of scores at or above optical flow",
            share, min(shares), max(shares), at_least=WANTED_SHARE, ceiling=1.0, reason=REASON,
        ),
        Figure(
            "radars left out: worst score over optical flow",
            min(ratios), min(ratios), max(ratios), at_least=1 - LARGEST_SHORTFALL, reason=REASON,
        ),
    ]  # fmt: skip
    publish("left_out_radars", figures, starts=starts, cells=[asdict(cell) for cell in cells])


def _share(cells: list[Cell], radar: str) -> float:
    ratios = [cell.ratio for cell in cells if cell.radar == radar]
    return sum(ratio >= 1 for ratio in ratios) / max(1, len(ratios))


if __name__ == "__main__":
    main()
