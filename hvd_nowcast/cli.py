"""The command line. Heavy libraries are imported inside the commands that need them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvd_nowcast import __version__, console
from hvd_nowcast.errors import HvdNowcastError, ParallelError
from hvd_nowcast.pretrained import run_path
from hvd_nowcast.regions.commands import regions
from hvd_nowcast.spark.commands import spark

if TYPE_CHECKING:
    from hvd_nowcast.shards.split import SplitRule


class RunPath(click.Path):
    """A run folder, or the word ``pretrained`` for the model that comes with the package."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Path of the folder."""
        return run_path(Path(os.fsdecode(super().convert(value, param, ctx))))


RUN = click.argument("run", type=RunPath(path_type=Path))
INPUTS = click.Path(path_type=Path)
MINUTES = click.option(
    "--minutes",
    type=click.IntRange(min=1),
    help="Of a nowcast: lead time of its last frame; beyond what it was trained for, it goes on "
    "from its own forecast.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hvd-nowcast")
def program() -> None:
    """Train, verify and run deep-learning nowcasts on radar data.

    \b
    From radar files to a verified forecast:
      hvd-nowcast shards build --format cf radar*.nc --out data/mine
      hvd-nowcast train configs/demo.yaml --run runs/mine --set data.shards=data/mine
      hvd-nowcast evaluate runs/mine --json runs/mine/scores.json
      hvd-nowcast forecast runs/mine --input newest*.nc --out forecast.nc
      hvd-nowcast report runs/mine
    """


@program.group()
def shards() -> None:
    """Build and check the training files."""


@shards.command("build")
@click.argument("inputs", nargs=-1, type=INPUTS)
@click.option("--format", "format_name", default=None, help="Input format; guessed when left out.")
@click.option("--out", required=True, type=INPUTS, help="New folder for the shards.")
@click.option(
    "--split",
    default="train=0.7,validation=0.15,test=0.15",
    show_default=True,
    help="Fractions in time order, or dates: train=2018-05-10:2018-05-15,... (end excluded); a "
    "split may have several of these.",
)
@click.option("--variable", default=None, help="Variable to read, where a file holds several.")
@click.option("--relation", default=None, help="Reflectivity to rain relation, by name.")
@click.option("--frames", default=288, show_default=True, help="Frames of a synthetic archive.")
@click.option(
    "--size", default="256x256", show_default=True, help="Rows x columns of a synthetic archive."
)
@click.option("--seed", default=0, show_default=True, help="Seed of a synthetic archive.")
def build(
    inputs: tuple[Path, ...],
    format_name: str | None,
    out: Path,
    split: str,
    variable: str | None,
    relation: str | None,
    frames: int,
    size: str,
    seed: int,
) -> None:
    """Turn radar files into shards with a manifest.

    \b
    Formats: cf, dwd-pycomlink, knmi, fmi-pgm, openmrg, mrms, sevir: radar; watershed; scene: land
    cover, divided by place; synthetic: rain without INPUTS.
    """
    from hvd_nowcast.shards.build import build_shards
    from hvd_nowcast.shards.convert import open_source
    from hvd_nowcast.shards.split import parse_split
    from hvd_nowcast.shards.synthetic import synthetic_source

    rule = parse_split(split)
    if format_name == "scene":
        console.say(_build_scene(inputs, out, rule))
        return
    if format_name == "synthetic":
        source = synthetic_source(frames, shape=_size(size), seed=seed)
    else:
        if not inputs:
            raise click.UsageError("give the files to read, or --format synthetic")
        source = open_source(inputs, format=format_name, variable=variable, relation=relation)
    manifest = build_shards(source, out, rule)
    counts = {split: 0 for split in ("train", "validation", "test")}
    for entry in manifest.shards:
        counts[entry.split] += entry.frames
    size_mb = sum(entry.bytes for entry in manifest.shards) / 1e6
    console.say(
        f"{out}: {len(manifest.shards)} shards, {size_mb:.1f} MB, frames "
        + ", ".join(f"{name} {count}" for name, count in counts.items())
    )


def _build_scene(inputs: tuple[Path, ...], out: Path, rule: SplitRule) -> str:
    from hvd_nowcast.shards.convert import list_files
    from hvd_nowcast.shards.convert.scene import open_scene
    from hvd_nowcast.shards.scene_build import build_scene

    if not inputs:
        raise click.UsageError("give the files of the scene")
    manifest = build_scene(open_scene(list_files(inputs)), out, rule)
    header = ["class", *manifest.pixels]
    counts = zip(*manifest.pixels.values(), strict=True)
    rows = [[name, *row] for name, row in zip(manifest.classes, counts, strict=True)]
    bands = ", ".join(f"{name} {count}" for name, count in manifest.modalities.items())
    return f"{console.table(header, rows)}\n{out}: a scene with bands {bands}"


@shards.command("check")
@click.argument("folder", type=INPUTS)
@click.option("--quarantine", is_flag=True, help="Move bad shards aside and drop them.")
def check(folder: Path, quarantine: bool) -> None:
    """Verify every shard against the manifest, each in a process of its own."""
    from hvd_nowcast.shards.check import check_shards

    results = check_shards(folder, quarantine=quarantine)
    rows = [[r.file, r.frames, "ok" if r.ok else "BAD", r.problem or ""] for r in results]
    console.say(console.table(["shard", "frames", "state", "problem"], rows))
    bad = sum(not result.ok for result in results)
    if bad:
        console.fail(
            f"{folder}: {bad} of {len(results)} shards are bad"
            + (", moved to quarantine" if quarantine else ". Move them aside with --quarantine")
        )
        sys.exit(3)


@shards.command("stage")
@click.argument("folder", type=INPUTS)
@click.option("--to", "target", required=True, type=INPUTS, help="Folder on a disk of the node.")
@click.option("--config", type=INPUTS, help="The run that will read the copy.")
@click.option("--set", "overrides", multiple=True, help="section.key=value, may be repeated.")
def stage(folder: Path, target: Path, config: Path | None, overrides: tuple[str, ...]) -> None:
    """Copy shards to a disk of every node of a job, checked by their checksums.

    \b
    Inside the job, with as many ranks as training; one rank of each node copies:
      mpirun hvd-nowcast shards stage data/mine --to $TMPDIR/mine --config CONFIG
      mpirun hvd-nowcast train CONFIG --run RUN --resume --shards $TMPDIR/mine
    Training never reads the test split, which is left out. With --config a node gets only the
    shards that its own ranks read, by the order of samples: in a run of many epochs these are
    nearly all, whatever data.locality is, because every rank may draw any window.
    """
    from hvd_nowcast.stage import stage as stage_job

    for line in stage_job(folder, target, config, overrides):
        console.say(line)


@program.command()
@click.argument("config", type=INPUTS)
@click.option("--run", "run_folder", required=True, type=INPUTS, help="Folder of this run.")
@click.option("--set", "overrides", multiple=True, help="section.key=value, may be repeated.")
@click.option("--resume", is_flag=True, help="Continue the run from its newest checkpoint.")
@click.option(
    "--start-from",
    type=RunPath(path_type=Path),
    help="Run whose weights to start from: --set start.run=RUN.",
)
@click.option("--locality", type=int, help="Short for --set data.locality=N: few shards at a time.")
@click.option(
    "--horovod-timeline",
    "timeline",
    type=INPUTS,
    help="File for Horovod's timeline, a Chrome trace.",
)
@click.option(
    "--shards",
    multiple=True,
    type=INPUTS,
    help="Copy of the shards to read, see shards stage; one for each folder of data.shards.",
)
def train(
    config: Path,
    run_folder: Path,
    overrides: tuple[str, ...],
    resume: bool,
    start_from: Path | None,
    locality: int | None,
    timeline: Path | None,
    shards: tuple[Path, ...],
) -> None:
    """Train the model that CONFIG describes into a run folder.

    \b
    On many ranks, start the same command with mpirun or srun, or with:
      launch/local.sh 4 configs/demo.yaml --run runs/mine
    The result does not depend on the number of ranks, and a run may be resumed on another number.
    """
    from hvd_nowcast.train import describe_training
    from hvd_nowcast.train import train as train_job

    if locality is not None:
        overrides = (*overrides, f"data.locality={locality}")
    if start_from is not None:
        overrides = (*overrides, f"start.run={start_from}")
    final = train_job(config, run_folder, overrides, resume, timeline, shards)
    if final is not None:
        console.say(describe_training(run_folder, final))


@program.command()
@click.argument("config", type=INPUTS)
@click.option("--set", "overrides", multiple=True, help="section.key=value, may be repeated.")
def probe(config: Path, overrides: tuple[str, ...]) -> None:
    """Measure how fast each rank is and show how the batch would be divided.

    \b
    On many ranks, start it with mpirun or srun:
      mpirun -n 4 hvd-nowcast probe configs/demo.yaml
    Training does the same with --set balance.mode=static.
    """
    from hvd_nowcast.train import probe as probe_job

    table = probe_job(config, overrides)
    if table is not None:
        console.say(table)


@program.command()
@click.option("--speeds", required=True, help="Samples per second of each rank: 100,100,50,25.")
@click.option("--batch", required=True, type=int, help="Global batch, samples.")
@click.option("--fixed", default=0.0, show_default=True, help="Seconds of a step without samples.")
@click.option("--parameters", default=0, show_default=True, help="Weights of the model.")
@click.option("--latency", default=20e-6, show_default=True, help="Seconds of a message.")
@click.option("--bandwidth", default=1e9, show_default=True, help="Bytes per second of a link.")
def plan(
    speeds: str, batch: int, fixed: float, parameters: int, latency: float, bandwidth: float
) -> None:
    """Predict a step of a cluster one does not have, for three ways to divide the batch."""
    from hvd_nowcast.parallel.simulation import simulate

    for line in simulate(_numbers(speeds), batch, fixed, parameters, latency, bandwidth):
        console.say(line)


@program.command("compare-parallel")
@click.argument("config", type=INPUTS)
@click.option("--run", "run_folder", required=True, type=INPUTS, help="New folder for the runs.")
@click.option("--set", "overrides", multiple=True, help="section.key=value, may be repeated.")
@click.option("--steps", default=100, show_default=True, help="Steps under each placement.")
def compare_parallel(
    config: Path, run_folder: Path, overrides: tuple[str, ...], steps: int
) -> None:
    """Train one network with its batch, its branches, or both divided over the ranks.

    \b
    Prints what each placement sends, how busy the ranks are, and how long a step and a validation
    take; the loss is the same, because the network is.
      mpirun -n 4 hvd-nowcast compare-parallel configs/landcover_raleigh.yaml --run runs/placed
    """
    from hvd_nowcast.compare import compare_parallel as compare
    from hvd_nowcast.compare import comparison_table

    found = compare(config, run_folder, overrides, steps)
    if found:
        console.say(comparison_table(found))


program.add_command(regions)


@program.command()
@RUN
@click.option("--shards", "folder", type=INPUTS, help="Other shards than those of the run.")
@click.option("--split", default="test", show_default=True, help="Which part of them.")
@click.option("--json", "json_file", type=INPUTS, help="Where the scores go.")
@click.option("--every", default=60, show_default=True, help="Minutes between forecast starts.")
@click.option(
    "--members",
    default=20,
    show_default=True,
    type=click.IntRange(min=0),
    help="Size of the ensembles, of a model with noise; 0 leaves them out.",
)
@MINUTES
@click.option(
    "--ablation",
    is_flag=True,
    help="Also score a nowcast without parts of its input; each costs another forecast.",
)
@click.option("--plot", type=INPUTS, help="Folder for figures; RUN/figures when left out.")
def evaluate(
    run: Path,
    folder: Path | None,
    split: str,
    json_file: Path | None,
    every: int,
    members: int,
    minutes: int | None,
    ablation: bool,
    plot: Path | None,
) -> None:
    """Score a run on a split beside the usual simpler models.

    \b
    Nowcast: persistence and optical flow, and an ensemble beside that of pySTEPS.
    Flood: persistence, a lagged linear model and an LSTM.
    Land cover: a random forest, and the model without each modality.
    """
    from hvd_nowcast.evaluate import evaluate_run

    for line in evaluate_run(
        run, folder, split, every, json_file, plot, members, ablation, minutes
    ):
        console.say(line)


@program.command()
@RUN
@click.option("--input", "inputs", required=True, multiple=True, type=INPUTS, help="Newest files.")
@click.option("--out", required=True, type=INPUTS, help="Forecast file to write, CF netCDF.")
@click.option("--plot", type=INPUTS, help="Folder for a picture of the forecast.")
@click.option("--format", "format_name", default=None, help="Input format; guessed when left out.")
@click.option("--variable", default=None, help="Variable to read, where a file holds several.")
@click.option("--relation", default=None, help="Reflectivity to rain relation, by name.")
@click.option(
    "--rain", multiple=True, type=INPUTS, help="Nowcast of the rain ahead, for a flood model."
)
@click.option("--time", "reference_time", default=None, help="Start here instead of the newest.")
@click.option(
    "--members",
    type=click.IntRange(min=2),
    help="How many forecasts an ensemble is made of.  [default: 20]",
)
@MINUTES
@click.argument("more_inputs", nargs=-1, type=INPUTS)
def forecast(
    run: Path,
    inputs: tuple[Path, ...],
    out: Path,
    plot: Path | None,
    format_name: str | None,
    variable: str | None,
    relation: str | None,
    rain: tuple[Path, ...],
    reference_time: str | None,
    members: int | None,
    minutes: int | None,
    more_inputs: tuple[Path, ...],
) -> None:
    """Forecast from the newest files in any supported format.

    \b
    Without a run of your own, with the model that comes with the program:
      hvd-nowcast forecast pretrained --input radar*.nc --out rain.nc --plot figures
    Rain from radar frames, then the discharge of a watershed with that rain ahead:
      hvd-nowcast forecast runs/radar --input radar*.nc --out rain.nc
      hvd-nowcast forecast runs/river --input river.nc --rain rain.nc --out flood.nc
    """
    from hvd_nowcast.forecast import forecast_run

    paths = [*inputs, *more_inputs]
    for line in forecast_run(
        run,
        paths,
        out,
        format_name,
        variable,
        relation,
        reference_time,
        rain,
        plot,
        members,
        minutes,
    ):
        console.say(line)


@program.command()
@RUN
@click.option("--input", "inputs", required=True, type=INPUTS, help="Folder where frames arrive.")
@click.option("--out", required=True, type=INPUTS, help="Folder of forecasts and health.json.")
@click.option("--keep", default=24.0, show_default=True, help="Hours of forecasts to keep.")
@click.option("--format", "format_name", default=None, help="Input format; guessed when left out.")
@click.option("--variable", default=None, help="Variable to read, where a file holds several.")
@click.option("--relation", default=None, help="Reflectivity to rain relation, by name.")
def watch(
    run: Path,
    inputs: Path,
    out: Path,
    keep: float,
    format_name: str | None,
    variable: str | None,
    relation: str | None,
) -> None:
    """Forecast each new frame in a folder within seconds, until SIGTERM or Ctrl-C.

    \b
      hvd-nowcast watch runs/radar --input /data/incoming --out /data/nowcasts
    A frame that is half a step late is taken as the mean of its neighbours; when it comes after
    all, the forecast is made again. OUT/health.json tells a monitor what goes on. A restart goes
    on with what lies in the folders.
    """
    from hvd_nowcast.keras_import import import_keras

    import_keras()
    from hvd_nowcast.nowcast.inbox import Inbox
    from hvd_nowcast.nowcast.predictor import Predictor
    from hvd_nowcast.nowcast.watch import RollingNowcast
    from hvd_nowcast.nowcast.watch import watch as watch_folder

    inbox = Inbox(inputs, format_name, variable, relation)
    watch_folder(RollingNowcast(Predictor.load(run), inbox, out, keep))


@program.command()
# Not RUN: the page would be written into the package.
@click.argument("run", type=INPUTS)
def report(run: Path) -> None:
    """Write one self-contained HTML page with the figures and tables of a run."""
    from hvd_nowcast.report import write_report

    console.say(f"report: {write_report(run)}")


@program.command()
@click.option("--full", is_flag=True, help="Also start Horovod and MPI, which takes seconds.")
@click.option("--check", is_flag=True, help="Start two ranks and name what a job would stumble on.")
def info(full: bool, check: bool) -> None:
    """Show versions, MPI, threads, disk space and what is missing.

    \b
    With --check: modules in the wrong order, two MPIs, ranks that do not see each other, a full
    TMPDIR, missing munge or PMIx. Status 8 when there is any.
    """
    from hvd_nowcast.information import collect
    from hvd_nowcast.parallel.launcher import find_launch

    if check:
        from hvd_nowcast.diagnosis.facts import gather_facts
        from hvd_nowcast.diagnosis.problems import find_problems, problem_table

        facts = gather_facts(os.environ)
    if find_launch(os.environ).rank > 0:
        return
    console.say(console.table(["section", "what", "value", "remark"], collect(full)))
    if check:
        problems = find_problems(facts)
        console.say("\n" + problem_table(problems))
        if problems:
            sys.exit(ParallelError.exit_status)


program.add_command(spark)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; every known error becomes one message and its exit status."""
    try:
        program.main(
            args=list(arguments) if arguments is not None else None, prog_name="hvd-nowcast"
        )
    except HvdNowcastError as problem:
        console.fail(str(problem))
        sys.exit(problem.exit_status)


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as problem:
        raise click.BadParameter(f"--speeds {text}: expected numbers such as 2,1,1") from problem
    if min(numbers) <= 0:
        raise click.BadParameter(f"--speeds {text}: every speed must be positive")
    return numbers


def _size(text: str) -> tuple[int, int]:
    rows, _, columns = text.partition("x")
    if not (rows.isdigit() and columns.isdigit()):
        raise click.BadParameter(f"--size {text}: expected ROWSxCOLUMNS such as 256x256")
    return int(rows), int(columns)
