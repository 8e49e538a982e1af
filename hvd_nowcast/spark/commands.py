"""``hvd-nowcast spark``: the commands. Heavy libraries are imported inside them."""

from __future__ import annotations

from pathlib import Path

import click

from hvd_nowcast import console

RUN = click.argument("run", type=click.Path(path_type=Path))
INPUTS = click.Path(path_type=Path)
MASTER = click.option(
    "--master",
    default="local[*]",
    show_default=True,
    help="local[N], spark://host:7077, yarn, k8s://...",
)
CONF = click.option("--conf", multiple=True, help="Spark setting key=value, may be repeated.")


@click.group()
def spark() -> None:
    """Predict over a large scene or archive, or train, on Apache Spark (extra 'spark', Java 17).

    \b
    On this machine with four executor slots, or on a cluster:
      hvd-nowcast spark predict runs/raleigh data/scene --master 'local[4]' --out maps/scene
      hvd-nowcast spark predict runs/radar data/archive --master spark://host:7077 --out hindcast
    """


@spark.command("predict")
@RUN
@click.argument("inputs", nargs=-1, required=True, type=INPUTS)
@click.option("--out", required=True, type=INPUTS, help="Folder for the results.")
@MASTER
@click.option("--every", default=60, show_default=True, help="Minutes between forecast starts.")
@click.option("--geotiff", is_flag=True, help="Write a class map as map.tif instead of map.nc.")
@CONF
def spark_predict(
    run: Path,
    inputs: tuple[Path, ...],
    out: Path,
    master: str,
    every: int,
    geotiff: bool,
    conf: tuple[str, ...],
) -> None:
    """Do what forecast does for each tile of a scene, or each start in an archive.

    \b
    Land cover: OUT/map.nc, the bytes that forecast gives, from tiles of 512 x 512 pixels.
    Nowcast, flood: one file for each start at a multiple of --every with all its inputs.
    INPUTS and --out must be on a disk that all executors see; RUN is sent to them. Give shards
    of a large scene: executors read windows of them, but other files whole. After a stop the
    same command makes what is missing or damaged; each file has its SHA-256 beside it.
    """
    from hvd_nowcast.spark.predict import predict

    for line in predict(run, inputs, out, master, every, geotiff, conf):
        console.say(line)


@spark.command("train")
@click.argument("config", type=INPUTS)
@click.option("--run", "run_folder", required=True, type=INPUTS, help="Folder of this run.")
@click.option("--num-proc", "ranks", required=True, type=click.IntRange(1), help="Ranks.")
@MASTER
@click.option("--set", "overrides", multiple=True, help="section.key=value, may be repeated.")
@click.option("--resume", is_flag=True, help="Continue the run from its newest checkpoint.")
@click.option("--trust-network", is_flag=True, help="Train over a network; see above.")
@CONF
def spark_train(
    config: Path,
    run_folder: Path,
    ranks: int,
    master: str,
    overrides: tuple[str, ...],
    resume: bool,
    trust_network: bool,
    conf: tuple[str, ...],
) -> None:
    """Do what train does, each rank in a Spark task, to the same weights as with mpirun.

    \b
      hvd-nowcast spark train configs/demo.yaml --run runs/mine --num-proc 2 --master 'local[2]'

    \b
    Horovod starts MPI in the tasks; its Gloo controller is never used. CONFIG, data and --run
    must be on a disk that all executors see. Beyond this machine, whoever reads Spark's traffic
    could run code on its nodes, because Horovod's key travels there: encrypt it with
    --conf spark.network.crypto.enabled=true and spark.authenticate, and say --trust-network.
    """
    from hvd_nowcast.spark.train import train_on_spark
    from hvd_nowcast.train import describe_training

    final = train_on_spark(
        config, run_folder, ranks, master, overrides, resume, trust_network, conf
    )
    if final is not None:
        console.say(describe_training(run_folder, final))
