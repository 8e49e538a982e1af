"""How fast is a forecast? ``python benchmarks/forecast.py [--quick]``.

Twelve frames on 512 x 512 pixels in one process, by the demo's network and by pySTEPS' dense
Lucas-Kanade with semi-Lagrangian extrapolation, in turns, both on all cores and with everything
loaded. Wanted: less time than pySTEPS. The ceiling is the time that the network's operations take
at the rate of a large matrix product. The weights are random, which changes nothing in the time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from figures import publish, ratio_figure
from machine import matrix_rate, network_operations

SIDE = 512
CONFIG = Path(__file__).parents[1] / "configs/demo.yaml"


def make_predictor():  # noqa: ANN201 - its import takes seconds
    from hvd_nowcast.config import load_config
    from hvd_nowcast.loader.scaling import LogRainScaling
    from hvd_nowcast.models.nowcast import build_nowcast
    from hvd_nowcast.nowcast.predictor import Predictor

    config = load_config(CONFIG)
    model = build_nowcast(config.model, config.data.frames_in, config.data.frames_out)
    scaling = LogRainScaling(2.5)
    return Predictor(config, model, scaling, "rain_rate", 300, 1000.0, "random"), model


def seconds(forecast: Callable[[], object]) -> float:
    started = time.perf_counter()
    forecast()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 5 if parser.parse_args().quick else 20
    from hvd_nowcast.shards.synthetic import synthetic_source
    from hvd_nowcast.verification.baselines import optical_flow

    predictor, model = make_predictor()
    source = synthetic_source(predictor.frames_in, (SIDE, SIDE), 0)
    frames = np.stack([source.read(number) for number in range(predictor.frames_in)])
    ways = {
        "network": lambda: predictor.forecast(frames),
        "pySTEPS": lambda: optical_flow(frames, predictor.frames_out),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, forecast in ways.items():
            taken = seconds(forecast)
            if number:  # The first round warms up.
                times[name].append(taken)
    rate, operations = matrix_rate(), network_operations(model, SIDE, SIDE)
    for name, taken in times.items():
        print(f"{name:<8}{1e3 * statistics.median(taken):8.0f} ms on {os.cpu_count()} cores")
    share = operations / rate / statistics.median(times["network"])
    print(f"network: {operations / 1e9:.1f} GFLOP at {rate / 1e9:.0f} GFLOP/s, {share:.0%}")
    ceiling = operations / rate / statistics.median(times["pySTEPS"])
    title = "forecast of 12 frames of 512 x 512 over pySTEPS' optical flow"
    faster = ratio_figure(title, times["network"], times["pySTEPS"], at_most=1, ceiling=ceiling)
    publish("forecast", [faster], share_of_matrix_rate=share)


if __name__ == "__main__":
    main()
