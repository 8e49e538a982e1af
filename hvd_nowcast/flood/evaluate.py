"""Score a flood model beside persistence, a lagged linear model and an LSTM on basin-mean rain."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast import console
from hvd_nowcast.config import FloodConfig
from hvd_nowcast.flood.predictor import FloodPredictor
from hvd_nowcast.loader.flood import FloodSamples
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.plots.hydrographs import save_flood_figures
from hvd_nowcast.training.flood import FloodData
from hvd_nowcast.training.loop import TrainingRun
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.verification.findings import Findings
from hvd_nowcast.verification.flood_baselines import LAGS, LaggedLinear, persistence
from hvd_nowcast.verification.hydrograph import score_table

Array = NDArray[np.float64]

BATCH = 64
LSTM = "lstm"
TABLE_METRICS = ("nse", "kge")


def evaluate_flood(run: Path, shards_folder: Path | None, split: str) -> Findings:
    """Score a run; parameters as of `flood_scores`."""
    scores = flood_scores(run, shards_folder, split)
    return Findings(flood_lines(scores), scores, partial(save_flood_figures, scores))


def flood_scores(
    run_folder: str | Path, shards_folder: Path | None = None, split: str = "test"
) -> dict[str, Any]:
    """Score a run and its baselines on one split.

    Parameters
    ----------
    run_folder
        The trained run.
    shards_folder
        Another record of the same gauges than the run's.
    split
        Part of it.

    The LSTM has the recurrent block, the series and the training of the model, and sees the mean
    rain of the area; it is trained the first time, into ``RUN/lstm``.

    Returns
    -------
    dict
        Ready for JSON: lead times, scores by source, metric and gauge, and the series themselves.
    """
    predictor = FloodPredictor.load(run_folder, shards_folder)
    data = predictor.data
    batches = data.batches(split)
    forecasts = {
        "model": _of_model(predictor, batches),
        "persistence": _of_persistence(data, batches),
        "linear": _of_linear(predictor.config, data, batches),
        LSTM: _of_lstm(Path(run_folder), predictor.config, shards_folder, split),
    }
    observed = _observed(data, batches)
    hours = data.manifest.step_seconds / 3600.0
    starts = np.unique(batches.places)
    middle = predictor.quantiles.index(0.5)
    model = forecasts["model"]
    median = {**forecasts, "model": model[..., middle]}
    return {
        "task": "flood",
        "split": split,
        "gauges": list(data.watershed.gauges),
        "area_km2": [
            float(data.watershed.network.upstream_area[n]) for n in data.watershed.gauge_node
        ],
        "lead_minutes": [60.0 * hours * (lead + 1) for lead in range(observed.shape[2])],
        "starts": [str(data.watershed.times[place]) for place in starts],
        "quantiles": list(predictor.quantiles),
        "coverage": _coverage(model, observed, predictor.quantiles),
        "scores": score_table(median, observed, data.watershed.gauges, hours),
        "series": {
            "observed": _lists(observed),
            **{source: _lists(values) for source, values in median.items()},
            "low": _lists(model[..., 0]),
            "high": _lists(model[..., -1]),
        },
    }


def flood_lines(scores: dict[str, Any]) -> str:
    """The table for the screen: the median over gauges at each lead time."""
    hours = [minutes / 60 for minutes in scores["lead_minutes"]]
    header = ["metric", "source", *(f"{hour:g} h" for hour in hours)]
    rows = [
        [metric, source, *(_cell(value) for value in table[metric]["median"])]
        for metric in (*TABLE_METRICS, "pbias", "rmse", "peak_error", "peak_timing")
        for source, table in scores["scores"].items()
    ]
    return console.table(header, rows)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _of_model(predictor: FloodPredictor, batches: FloodSamples) -> Array:
    numbers = range(len(batches))
    found = predictor.predict_all(batches.in_order(numbers, BATCH))
    return _by_start(batches, found, len(predictor.data.watershed.gauges))


def _by_start(batches: FloodSamples, values: Array, gauges: int) -> Array:
    """Samples (n, ...) to (starts, gauges, ...), NaN where there was no sample."""
    starts = np.unique(batches.places)
    table = np.full((len(starts), gauges, *values.shape[1:]), np.nan)
    for (window, gauge), value in zip(batches.pairs, values, strict=True):
        table[np.searchsorted(starts, batches.places[window]), gauge] = value
    return table


def _observed(data: FloodData, batches: FloodSamples) -> Array:
    starts = np.unique(batches.places)
    leads = data.sizes.steps_out
    coming = starts[:, None] + np.arange(1, leads + 1)
    return data.watershed.discharge.astype(np.float64)[coming].transpose(0, 2, 1)


def _of_persistence(data: FloodData, batches: FloodSamples) -> Array:
    starts, leads = np.unique(batches.places), data.sizes.steps_out
    discharge = data.watershed.discharge.astype(np.float64)
    return np.stack([persistence(q, starts, leads) for q in discharge.T], 1)


def _of_linear(config: FloodConfig, data: FloodData, batches: FloodSamples) -> Array:
    starts = np.unique(batches.places)
    fitting = [np.unique(data.batches(split).places) for split in ("train", "validation")]
    fitting = [places[places >= LAGS] for places in fitting]
    pet = data.watershed.pet[:, None] if data.watershed.pet.size else np.zeros((0, 0))
    others = np.concatenate([data.watershed.inflow, pet.reshape(len(data.watershed.inflow), -1)], 1)
    columns = []
    for gauge, rain in enumerate(area_rain(data)):
        discharge = data.watershed.discharge[:, gauge].astype(np.float64)
        model = LaggedLinear(
            discharge,
            rain,
            others.astype(np.float64),
            data.sizes.steps_out,
            config.data.future_rain,
        )
        columns.append(model.fit(*fitting).forecast(starts))
    return np.stack(columns, 1)


def area_rain(data: FloodData) -> Array:
    """Mean rain rate over each gauge's area at all times, shape (gauges, t); dry where missing."""
    times = len(data.watershed.times)
    table = data.manifest.packing.table().astype(np.float64)
    flat = data.maps.weight.reshape(len(data.maps.weight), -1).astype(np.float64)
    rain = np.zeros((len(flat), times))
    for start in range(0, times, BATCH):
        places = range(start, min(times, start + BATCH))
        values = table[data.rain.codes(places)].reshape(len(places), -1)
        known = np.isfinite(values)
        total, share = flat @ np.where(known, values, 0.0).T, flat @ known.T
        mean = np.divide(total, share, out=np.zeros_like(total), where=share > 0)
        rain[:, places.start : places.stop] = mean
    return rain


def _of_lstm(
    run_folder: Path, config: FloodConfig, shards_folder: Path | None, split: str
) -> Array:
    folder = run_folder / LSTM
    run = RunFolder(folder)
    if not run.has("final.json"):
        console.note("training the LSTM on basin-mean rain to compare with, once")
        plain = replace(config, model=replace(config.model, heads=0, output="mean"))
        if not run.has("config.yaml"):
            run.start(plain)
        TrainingRun(plain, run, SingleProcess()).run()
    predictor = FloodPredictor.load(folder, shards_folder)
    return _of_model(predictor, predictor.data.batches(split))[..., 0]


def _coverage(model: Array, observed: Array, quantiles: tuple[float, ...]) -> float | None:
    """Share of what was observed between the lowest and the highest quantile."""
    if len(quantiles) < 2:
        return None
    known = np.isfinite(observed) & np.isfinite(model[..., 0])
    inside = (observed >= model[..., 0]) & (observed <= model[..., -1])
    return float(inside[known].mean())


def _lists(values: Array) -> list[Any]:
    rounded = np.round(values, 3).astype(object)
    rounded[~np.isfinite(values)] = None
    return rounded.tolist()
