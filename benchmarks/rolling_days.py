"""A day never seen: ``python benchmarks/rolling_days.py [--only DAY] [--quick]``.

For each of the seven days of DWD radar a network is trained on the other six and scored on the one
left out, beside optical flow from the same hourly starts. The table is CSI at 1 mm/h: ours ahead at
every lead time from 10 minutes is wanted, and by 15 % after an hour, with at least half of the
observed power at 8 km. The archives are built from --source when they are absent; a finished run is
not trained again, and a stopped one goes on: give another --runs for other settings.
"""

from __future__ import annotations

import argparse
from typing import Any

from figures import Figure, beside, power_ratio, publish
from trainings import HERE, build, parse, scores, train, training_parser

from hvd_nowcast.verification.evaluation import Evaluation

CONFIG = HERE / "configs/demo.yaml"
FILE = "dwd_yw_20180510_rate.nc"
# The days, and the one after them.
DAYS = tuple(f"2018-05-{day}" for day in range(10, 18))
SHOWN = (10, 15, 30, 45, 60)
SINCE, LAST = 10, 60
WANTED_LEAD = 1.15
WAVELENGTH_KM, WANTED_POWER = 8, 0.5
HELD_FROM_HOUR = 18
Pairs = dict[int, tuple[float, float]]


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0])
    parser.add_argument("--only", choices=DAYS[:-1], action="append", help="days to leave out")
    options = parse(parser, "rolling_days")
    found = {day: unseen_scores(day, options) for day in options.only or DAYS[:-1]}
    report(found)


def unseen_scores(day: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train on the other days and score on this one, as far as it is not done."""
    folder, run = options.data / "rolling" / day, options.runs / day
    build(options.source / FILE, folder, split_without(day))
    # The last weights are taken: six hours are too few to choose by.
    settings = {"data.shards": folder, "training.validate_every": options.steps}
    train(CONFIG, run, settings, options)
    return scores(run, folder, 60, run / "scores.json")


def split_without(day: str) -> str:
    """A day for test; the last hours of the newest other day are validation, the rest training."""
    next_day = DAYS[DAYS.index(day) + 1]
    newest = DAYS[-3] if day == DAYS[-2] else DAYS[-2]
    held = f"{newest}T{HELD_FROM_HOUR}:00"
    ranges = (
        ("train", DAYS[0], min(day, held)),
        ("train", next_day, held),
        ("validation", held, DAYS[DAYS.index(newest) + 1]),
        ("test", day, next_day),
    )
    return ",".join(f"{name}={start}:{end}" for name, start, end in ranges if start < end)


def report(found: dict[str, dict[str, Any]]) -> None:
    """The table, day by day and of all starts together."""
    rows = {day: pairs(of_day) for day, of_day in found.items()}
    all_days = [Evaluation.from_json(of_day) for of_day in found.values()]
    pooled = sum(all_days[1:], start=all_days[0]).to_json()
    rows["all"] = pairs(pooled)
    print("CSI at 1 mm/h, ours / optical flow, * below it, - without rain enough to tell")
    print(f"{'':<12}" + "".join(f"{f'{minutes} min':>16}" for minutes in SHOWN))
    for day, row in rows.items():
        print(f"{day:<12}" + "".join(f"{shown(row.get(minutes)):>16}" for minutes in SHOWN))
    whole = quotients(rows["all"])
    days = {day: quotients(rows[day]) for day in found}
    each = [ratio for ratios in days.values() for ratio in ratios.values()]
    wet = [day for day, ratios in days.items() if LAST in ratios]
    hours = [days[day][LAST] for day in wet]
    powers = [power_ratio(found[day], WAVELENGTH_KM, LAST) for day in wet]
    if LAST not in whole:
        raise SystemExit("too little rain to tell: take more days")
    title = "days left out: CSI at 1 mm/h over optical flow,"
    figures = [
        Figure(
            f"{title} all days, worst lead time from {SINCE} min",
            min(whole.values()), min(whole.values()), max(whole.values()), at_least=1.0,
        ),
        Figure(
            f"{title} worst day and lead time from {SINCE} min",
            min(each), min(each), max(each), at_least=1.0, reason="a day with next to no rain",
        ),
        Figure(
            f"{title} all days, {LAST} min",
            whole[LAST], min(hours), max(hours), at_least=WANTED_LEAD,
            reason="six days are little to learn growth and decay from",
        ),
        Figure(
            f"days left out: power at {WAVELENGTH_KM} km over observed, all days, {LAST} min",
            power_ratio(pooled, WAVELENGTH_KM, LAST), min(powers), max(powers),
            at_least=WANTED_POWER,
            reason="what cannot be foreseen is smooth: raise model.texture",
        ),
    ]  # fmt: skip
    publish("rolling_days", figures, csi=rows)


def pairs(found: dict[str, Any]) -> Pairs:
    """CSI at 1 mm/h of ours and of optical flow, by lead time in minutes, where flow has a hit."""
    ours, flow = (found["scores"][source]["csi"]["1.0"] for source in ("model", "optical_flow"))
    rows = zip(found["lead_minutes"], ours, flow, strict=True)
    return {minutes: (mine, theirs) for minutes, mine, theirs in rows if theirs}


def quotients(row: Pairs) -> dict[int, float]:
    return {minutes: ours / flow for minutes, (ours, flow) in row.items() if minutes >= SINCE}


def shown(pair: tuple[float, float] | None) -> str:
    return "-" if pair is None else beside(*pair, pair[0] >= pair[1])


if __name__ == "__main__":
    main()
