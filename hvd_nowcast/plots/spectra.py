"""Power against wavelength: whether a forecast keeps the small scales of real rain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hvd_nowcast.plots.style import FAINT, label_line_ends, line_style, new_figure, readable_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS = (1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)


def spectra_figure(scores: Mapping[str, Any]) -> Figure:
    """Mean radially averaged power spectra, one panel per lead time.

    Parameters
    ----------
    scores
        `Evaluation.to_json()` with spectra.
    """
    spectra = scores["spectra"]
    minutes = spectra["lead_minutes"]
    figure = new_figure(max(5.0, 4.6 * len(minutes)), 3.6)
    panels = figure.subplots(1, len(minutes), squeeze=False, sharey=True)[0]
    for place, (axes, minute) in enumerate(zip(panels, minutes, strict=True)):
        power = {source: values[place] for source, values in spectra["power"].items()}
        _draw_spectra(axes, np.array(spectra["wavelength_km"]), power)
        axes.set_title(f"+{minute:g} min")
    panels[0].set_ylabel("power (dB)")
    figure.suptitle(_caption(scores), x=0.01, ha="left", fontsize=8.5, color=FAINT)
    return figure


def _caption(scores: Mapping[str, Any]) -> str:
    spectra = scores["spectra"]
    side, floor = spectra["side_pixels"], spectra["decibel_above"]
    field = scores["quantity"].replace("_", " ")
    if floor is not None:
        field += f" in dB above {floor:g} {readable_units(scores['units'])}"
    return (
        f"radially averaged power of {field}, central {side} × {side} pixels, "
        f"mean of {scores['starts']} forecasts"
    )


def _draw_spectra(axes: Axes, lengths: Any, power: Mapping[str, list[float]]) -> None:
    ends = {}
    for source, values in power.items():
        decibel = 10.0 * np.log10(np.maximum(values, 1e-12))
        axes.plot(lengths, decibel, **line_style(source))
        ends[source] = float(decibel[-1])
    axes.set_xscale("log")
    axes.set_xlim(lengths[0], lengths[-1] * (lengths[-1] / lengths[0]) ** 0.32)
    ticks = [tick for tick in TICKS if 0.95 * lengths[-1] <= tick <= lengths[0]]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.spines["bottom"].set_bounds(lengths[0], lengths[-1])
    axes.set_xlabel("wavelength (km)")
    label_line_ends(axes, ends, lengths[-1])
