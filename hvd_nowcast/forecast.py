"""Forecast with a run of any task, and draw it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.keras_import import import_keras
from hvd_nowcast.regions.folder import RegionsFolder
from hvd_nowcast.training.run_folder import RunFolder

# Options that belong to each task.
OPTIONS = {
    "nowcast": ("--variable", "--relation", "--time", "--members", "--minutes"),
    "flood": ("--time", "--rain"),
    "landcover": (),
}


def forecast_run(
    run: Path,
    inputs: Sequence[Path],
    out: Path,
    format: str | None = None,
    variable: str | None = None,
    relation: str | None = None,
    reference_time: str | None = None,
    rain: Sequence[Path] = (),
    plot: Path | None = None,
    members: int | None = None,
    minutes: int | None = None,
) -> Iterator[str]:
    """Forecast from the newest files, or map a scene, and write a CF netCDF file.

    Parameters
    ----------
    run
        The trained run, or a folder of the models of many regions.
    inputs
        Radar files, or those of a watershed or of a scene.
    out
        The file to write.
    format, variable, relation
        Of radar files, see `hvd_nowcast.shards.convert.open_source`.
    reference_time
        ISO time to start from; the newest of the files when None.
    rain
        Nowcasts that a flood model is given as the rain ahead.
    plot
        Folder for a picture.
    members
        Of a nowcast of ensembles: how many are drawn.
    minutes
        Of a nowcast: lead time of the last frame; as trained when None.

    Yields
    ------
    str
        Lines for the screen: what was forecast, and where the files are.

    Raises
    ------
    ConfigError
        When an option does not belong to the task of the run.
    """
    many = RegionsFolder.is_one(run)
    task = RegionsFolder(run).config()[1].task if many else RunFolder(run).config().task
    given: dict[str, object] = {
        "--variable": variable,
        "--relation": relation,
        "--time": reference_time,
        "--rain": rain,
        "--members": members,
        "--minutes": minutes,
    }
    for option, value in given.items():
        if value and option not in OPTIONS[task]:
            raise ConfigError(f"{option} means nothing to a {task} run")
    import_keras()
    if task == "flood":
        yield from _flood(run, inputs, out, reference_time, rain, plot)
        return
    if task == "landcover":
        yield from _landcover(run, inputs, out, plot)
        return
    from hvd_nowcast.nowcast.forecast import make_forecast
    from hvd_nowcast.nowcast.longer import to_lead_time
    from hvd_nowcast.nowcast.predictor import EnsemblePredictor, Predictor
    from hvd_nowcast.regions.serve import load_regional_nowcast
    from hvd_nowcast.verification.ensemble import MEMBERS

    predictor = load_regional_nowcast(run) if many else Predictor.load(run)
    if members and not isinstance(predictor, EnsemblePredictor):
        raise ConfigError(
            f"--members {members}: {run} makes one forecast, not an ensemble. Train one with "
            "configs/nowcast_ensemble.yaml"
        )
    model = to_lead_time(predictor, minutes)
    reading = (format, variable, relation, reference_time)
    yield str(make_forecast(model, inputs, out, *reading, members=members or MEMBERS))
    if plot is not None:
        from hvd_nowcast.plots import plot_forecast_file

        for picture in plot_forecast_file(out, plot):
            yield f"picture: {picture}"


def _flood(
    run: Path,
    inputs: Sequence[Path],
    out: Path,
    reference_time: str | None,
    rain: Sequence[Path],
    plot: Path | None,
) -> Iterator[str]:
    from hvd_nowcast.flood.discharge_file import write_discharge
    from hvd_nowcast.flood.forecast import make_flood_forecast
    from hvd_nowcast.flood.predictor import FloodPredictor
    from hvd_nowcast.regions.serve import RegionalFlood

    load = RegionalFlood.load if RegionsFolder.is_one(run) else FloodPredictor.load
    forecast = make_flood_forecast(run, inputs, rain, reference_time, load)
    write_discharge(out, forecast)
    yield f"{out}: {forecast}"
    if plot is not None:
        from hvd_nowcast.plots.flood_forecast import save_flood_forecast

        yield f"picture: {save_flood_forecast(forecast, plot)}"


def _landcover(run: Path, inputs: Sequence[Path], out: Path, plot: Path | None) -> Iterator[str]:
    from hvd_nowcast.landcover.forecast import map_scene, shares_of
    from hvd_nowcast.landcover.predictor import LandcoverPredictor
    from hvd_nowcast.regions.serve import RegionalLandcover

    load = RegionalLandcover.load if RegionsFolder.is_one(run) else LandcoverPredictor.load
    predictor = load(run)
    found = map_scene(predictor, inputs, out)
    yield f"{out}: {shares_of(found, predictor.classes)}"
    if plot is not None:
        from hvd_nowcast.plots.landcover import save_class_map

        yield f"picture: {save_class_map(found.classes, predictor.classes, plot)}"
