"""Regions on a map with their clusters as a tree, and schemes of transfer beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.optional import import_optional
from hvd_nowcast.plots.style import FAINT, INK, import_matplotlib, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, without black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#8a8a8a")
NONE = "#e3e3e3"


@dataclass(frozen=True)
class RegionShape:
    """A region as it is drawn.

    Attributes
    ----------
    name
        Of the region.
    position
        Centre in km, south and east of the corner of the domain.
    corners
        In km as well, shape (n, 2); a region without is a dot.
    cluster
        Number of its cluster; None for one without a model.
    is_source
        Whether others learn from it.
    """

    name: str
    position: tuple[float, float]
    corners: NDArray[np.float64] | None
    cluster: int | None
    is_source: bool


def save_cluster_figure(
    shapes: Sequence[RegionShape], distance: NDArray[np.float64], linkage: str, folder: Path
) -> Path:
    """Draw ``clusters.png``: the regions on a map, and how alike they are as a tree.

    Parameters
    ----------
    shapes
        All regions.
    distance
        Of each pair of those that have a cluster, in their order.
    linkage
        As the clusters were made with.
    folder
        Where to.

    Raises
    ------
    MissingDependencyError
        When matplotlib or SciPy is not installed.
    OutputError
        When the file cannot be written.
    """
    return save_figure(lambda: cluster_figure(shapes, distance, linkage), folder / "clusters.png")


def cluster_figure(
    shapes: Sequence[RegionShape], distance: NDArray[np.float64], linkage: str
) -> Figure:
    """The map and the tree side by side."""
    figure = new_figure(9.6, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.0, 1.1])
    _draw_map(left, shapes)
    named = [shape for shape in shapes if shape.cluster is not None]
    _draw_tree(right, named, distance, linkage)
    return figure


def _draw_map(axes: Axes, shapes: Sequence[RegionShape]) -> None:
    patches = import_matplotlib("patches")
    for shape in shapes:
        colour = _colour(shape.cluster)
        y, x = shape.position
        if shape.corners is not None:
            outline = patches.Polygon(
                shape.corners[:, ::-1], facecolor=colour, edgecolor="white", alpha=0.75
            )
            axes.add_patch(outline)
        else:
            axes.plot(x, y, "o", color=colour, markersize=11 if shape.is_source else 6, alpha=0.75)
            if not shape.is_source:
                continue  # Gauges lie close together; the tree has all their names.
        axes.annotate(
            f"{shape.name}\nsource" if shape.is_source else shape.name,
            (x, y),
            (0, 0) if shape.corners is not None else (9, 0),
            textcoords="offset points",
            ha="center" if shape.corners is not None else "left",
            va="center",
            size=7.5,
            weight="bold" if shape.is_source else "normal",
            color=INK if shape.cluster is not None else FAINT,
        )
    axes.autoscale_view()
    axes.margins(0.04 if shapes and shapes[0].corners is not None else 0.12)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xlabel("km from the west")
    axes.set_ylabel("km from the north")
    axes.set_title("regions, coloured by cluster")


def _draw_tree(
    axes: Axes, shapes: Sequence[RegionShape], distance: NDArray[np.float64], linkage: str
) -> None:
    axes.set_title("how alike they are")
    axes.set_ylabel("distance of the descriptors")
    axes.grid(visible=False, axis="x")
    if len(shapes) < 2:
        axes.text(0.5, 0.5, "a single region", ha="center", transform=axes.transAxes)
        return
    hierarchy = import_optional("scipy.cluster.hierarchy", "the tree needs SciPy", "scipy")
    condensed = distance[np.triu_indices(len(distance), 1)]
    links = hierarchy.linkage(condensed, linkage)
    clusters = [shape.cluster for shape in shapes]
    members: list[set[int | None]] = [{cluster} for cluster in clusters]
    for first, second, *_ in links:
        members.append(members[int(first)] | members[int(second)])
    hierarchy.dendrogram(
        links,
        ax=axes,
        labels=[shape.name for shape in shapes],
        leaf_rotation=90,
        leaf_font_size=7.5,
        link_color_func=lambda node: (
            _colour(next(iter(members[node]))) if len(members[node]) == 1 else FAINT
        ),
    )
    by_name = {shape.name: shape for shape in shapes}
    for label in axes.get_xticklabels():
        shape = by_name[label.get_text()]
        label.set_color(_colour(shape.cluster))
        label.set_fontweight("bold" if shape.is_source else "normal")


def _colour(cluster: int | None) -> str:
    return NONE if cluster is None else COLOURS[cluster % len(COLOURS)]


def save_scheme_figure(panels: Mapping[str, Mapping[str, Sequence[float]]], folder: Path) -> Path:
    """Draw ``schemes.png``: for each panel a row of dots per scheme, one for each region.

    Parameters
    ----------
    panels
        Title of a panel, scheme, values relative to scratch.
    folder
        Where to.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    OutputError
        When the file cannot be written.
    """
    return save_figure(lambda: scheme_figure(panels), folder / "schemes.png")


def scheme_figure(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Dots, and a bar at the median."""
    schemes = list(next(iter(panels.values())))
    figure = new_figure(4.6 * len(panels), 1.1 + 0.42 * len(schemes))
    rows: Any = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, values) in zip(rows, panels.items(), strict=True):
        axes.axvline(1.0, color=FAINT, linewidth=1.0)
        for number, scheme in enumerate(schemes):
            found = np.asarray(values[scheme], float)
            # Dots of one value would hide each other.
            shift = np.linspace(-0.22, 0.22, len(found)) if len(found) > 1 else np.zeros(1)
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(found, number + shift[: len(found)], "o", color=colour, alpha=0.5, ms=4)
            if len(found):
                middle = float(np.median(found))
                axes.plot([middle] * 2, [number - 0.32, number + 0.32], color=INK, linewidth=2.0)
                axes.annotate(
                    f"{middle:.2f}",
                    (1.0, number),
                    (4, 0),
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    va="center",
                    size=8.5,
                )
        axes.set_yticks(range(len(schemes)), schemes)
        axes.set_ylim(len(schemes) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_title(title)
    return figure
