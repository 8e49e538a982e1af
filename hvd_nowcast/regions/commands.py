"""The commands about many models over space; what they need is imported inside them."""

from __future__ import annotations

from pathlib import Path

import click

from hvd_nowcast import console


@click.group()
def regions() -> None:
    """Many models over space, which learn from each other.

    \b
      hvd-nowcast regions fit configs/regions_dwd.yaml --run runs/regions
      hvd-nowcast forecast runs/regions --input newest*.nc --out forecast.nc
    """


CONFIG = click.argument("config", type=click.Path(path_type=Path))
REGIONS_RUN = click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path),
    help="Folder of all models; runs/NAME of CONFIG.",
)
SET = click.option("--set", "overrides", multiple=True, help="section.key=value, may be repeated.")
RESUME = click.option("--resume", is_flag=True, help="Leave out the models that are finished.")


@regions.command("fit")
@CONFIG
@REGIONS_RUN
@SET
@RESUME
def regions_fit(
    config: Path, run_folder: Path | None, overrides: tuple[str, ...], resume: bool
) -> None:
    """Cut space into regions and train a model for each.

    \b
    Some are trained from scratch, and the others learn from the most similar of them. On many
    ranks, each takes the next model as soon as it is free:
      mpirun -n 8 hvd-nowcast regions fit configs/regions_dwd.yaml --run runs/regions
    """
    _regions(config, run_folder, False, overrides, resume)


@regions.command("evaluate")
@CONFIG
@REGIONS_RUN
@SET
@RESUME
def regions_evaluate(
    config: Path, run_folder: Path | None, overrides: tuple[str, ...], resume: bool
) -> None:
    """Train every region under every scheme, and from scratch, and compare.

    Tells how long a model takes to be as good as from scratch on the validation split, what all
    of them take together, and how good they are on the test split. The schemes: global, nearest,
    similar, and aligned, whose sources saw only the time with the weather of their clusters.
    """
    _regions(config, run_folder, True, overrides, resume)


@regions.command("report")
@CONFIG
@REGIONS_RUN
def regions_report(config: Path, run_folder: Path | None) -> None:
    """Write one self-contained HTML page about all models of a folder."""
    from hvd_nowcast.regions.report import write_regions_report

    console.say(f"report: {write_regions_report(run_folder or _regions_run(config))}")


def _regions_run(config: Path) -> Path:
    return Path("runs") / config.stem


def _regions(
    config: Path, run_folder: Path | None, compare: bool, overrides: tuple[str, ...], resume: bool
) -> None:
    from hvd_nowcast.regions.fit import train_regions
    from hvd_nowcast.regions.report import region_lines

    folder = run_folder or _regions_run(config)
    trained = train_regions(config, folder, compare, overrides, resume)
    for line in region_lines(trained) if trained is not None else ():
        console.say(line)
