"""The domain-aware flood network: pixel contributions, convolution heads, a recurrent block.

The three blocks of Sarkar et al. (2023, arXiv:2301.11787), whose sizes are not public. Here the
contribution block weighs each pixel by its share of the gauge's area and delays it by its travel
time; each head convolves the pixels of one class of travel times at its own scale and gathers them
by their contribution; an LSTM or GRU follows the gathered features in time. Beside it runs a linear
path over the newest steps, as in LSTNet (Lai et al. 2018, arXiv:1703.07015), because flow is nearly
linear in flow and rain most of the time.

Shapes: b batch, t time steps (past and future), y rows, x columns, h heads, f features, s series.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from hvd_nowcast.config import FloodModelSection
from hvd_nowcast.models.blocks import layer_precision

# Steps before the first lead time that the linear path sees.
LINEAR_STEPS = 8
CORRECTION_WIDTH = 8
# Pixels of a head are squares of this side: neighbouring heads look at different scales.
SCALES = (1, 2, 4)
BLOCK = "contribution"
# Channels that pass a head untouched: what falls and what arrives.
PLAIN = 2
LINEAR, LINEAR_INPUTS, LAST_KNOWN = "linear", "linear_inputs", "last_known"
LEAD_SHARE = "lead_share"


@dataclass(frozen=True)
class ContributionMaps:
    """What the network knows of each gauge.

    Attributes
    ----------
    weight
        Share of the gauge's area in each pixel, shape (gauges, y, x).
    delay
        Travel time in time steps, shape (gauges, y, x).
    classes
        Membership in classes of travel time, shape (gauges, y, x, heads).
    """

    weight: NDArray[np.float32]
    delay: NDArray[np.float32]
    classes: NDArray[np.float32]

    @property
    def pixels(self) -> NDArray[np.float32]:
        """Number of pixels of each gauge, shape (gauges,)."""
        return np.maximum((self.weight > 0).sum((1, 2)), 1).astype(np.float32)

    def without_knowledge(self) -> ContributionMaps:
        """Every pixel of the grid alike, at once and in every class: the ablation."""
        rows, columns = self.weight.shape[1:]
        return ContributionMaps(
            np.full_like(self.weight, 1.0 / (rows * columns)),
            np.zeros_like(self.delay),
            np.full_like(self.classes, 1.0 / max(1, self.classes.shape[-1])),
        )


@dataclass(frozen=True)
class FloodSizes:
    """Sizes of what goes in and out.

    Attributes
    ----------
    steps_in
        Time steps of the past.
    series
        Number of series beside the rain; the first is the scaled discharge.
    lead_scale
        How far the discharge usually moves until each lead time.
    """

    steps_in: int
    series: int
    lead_scale: tuple[float, ...]

    @property
    def steps_out(self) -> int:
        """Lead times."""
        return len(self.lead_scale)

    @property
    def steps(self) -> int:
        """All time steps."""
        return self.steps_in + self.steps_out


@dataclass(frozen=True)
class FloodNetwork:
    """The network and its parts, which share their variables.

    Attributes
    ----------
    model
        From ``{"rain": (b, t, y, x), "gauge": (b,), "series": (b, t, s)}`` to
        ``(b, steps_out, outputs)``.
    heads
        Each from rain and gauge to features (b, t, f).
    tail
        From the features of all heads (b, t, h f), and the series, to the output.
    has_deviation
        Whether the second output of a lead time is a standard deviation.
    """

    model: keras.Model
    heads: tuple[keras.Model, ...]
    tail: keras.Model
    has_deviation: bool

    @property
    def lead_share(self) -> keras.Variable:
        """How much of the recurrent block's answer is used at each lead time, shape (leads,)."""
        return self.tail.get_layer(LEAD_SHARE).share

    @property
    def shared(self) -> list[keras.Variable]:
        """Weights that several heads have: the correction of the contributions."""
        return [v for v in self.model.trainable_variables if v.path.startswith(BLOCK)]


def build_flood(
    section: FloodModelSection, maps: ContributionMaps, sizes: FloodSizes
) -> FloodNetwork:
    """Build the network.

    Parameters
    ----------
    section
        Widths and options.
    maps
        Contributions of the gauges.
    sizes
        Sizes of inputs and outputs.
    """
    with layer_precision(section.precision):
        return _build(section, maps, sizes)


def output_count(section: FloodModelSection) -> int:
    """Numbers per lead time."""
    return {"mean": 1, "gaussian": 2, "quantile": len(section.quantiles)}[section.output]


def _build(section: FloodModelSection, maps: ContributionMaps, sizes: FloodSizes) -> FloodNetwork:
    known = maps if section.contribution else maps.without_knowledge()
    rain = keras.Input((sizes.steps, *maps.weight.shape[1:]), name="rain")
    gauge = keras.Input((), dtype="int32", name="gauge")
    series = keras.Input((sizes.steps, sizes.series), name="series")
    block = PixelContribution(
        known, section.contribution and section.learn_contribution, name=BLOCK
    )
    heads = tuple(
        _head(section, block, known, (rain, gauge), number) for number in range(section.heads)
    ) or (_mean_rain(maps, (rain, gauge)),)
    joined = _joined([head([rain, gauge]) for head in heads])
    tail = _tail(section, sizes, joined.shape[-1])
    model = keras.Model(
        {"rain": rain, "gauge": gauge, "series": series}, tail([joined, series]), name="flood"
    )
    return FloodNetwork(model, heads, tail, section.output == "gaussian")


def _joined(features: list[keras.KerasTensor]) -> keras.KerasTensor:
    return layers.Concatenate(name="joined")(features) if len(features) > 1 else features[0]


class PixelContribution(layers.Layer):
    """Rain on each pixel, when it falls and when it arrives, weighted by its contribution.

    Parameters
    ----------
    maps
        Contributions of the gauges.
    learn
        Whether a small network corrects the weights by a factor, 1 at the start.
    """

    def __init__(self, maps: ContributionMaps, learn: bool, **options: str) -> None:
        super().__init__(**options)
        whole = np.floor(maps.delay)
        part = maps.delay - whole
        lags = np.arange(int(whole.max()) + 2)[:, None, None, None]
        # Each delay falls between two whole steps.
        response = np.where(lags == whole, 1 - part, 0) + np.where(lags == whole + 1, part, 0)
        self._response = np.moveaxis(response, 0, 1)
        # The mean pixel of a gauge weighs 1, whatever the number of its pixels.
        self._weight = maps.weight * maps.pixels[:, None, None]
        self._facts = np.stack(
            [np.log1p(self._weight), maps.delay / max(1.0, float(maps.delay.max()))], -1
        )
        self._hidden = self._factor = None
        if learn:
            self._hidden = layers.Dense(CORRECTION_WIDTH, "tanh", name="correction")
            self._factor = layers.Dense(1, kernel_initializer="zeros", name="log_factor")

    def build(self, *_: object) -> None:
        """Make the weights of the correction."""
        if self._hidden is not None and self._factor is not None:
            self._hidden.build((None, 2))
            self._factor.build((None, CORRECTION_WIDTH))

    def call(self, rain: tf.Tensor, gauge: tf.Tensor) -> tf.Tensor:
        """Rain (b, t, y, x) and gauge (b,) to what falls and what arrives (b, t, y, x, 2)."""
        response = self._of(self._response, gauge)
        steps = rain.shape[1]
        arriving = tf.zeros_like(rain)
        for lag in range(min(response.shape[1], steps)):
            late = tf.pad(rain[:, : steps - lag], ((0, 0), (lag, 0), (0, 0), (0, 0)))
            arriving += late * response[:, lag, None]
        weight = self._of(self._weight, gauge)
        if self._hidden is not None and self._factor is not None:
            facts = self._of(self._facts, gauge)
            weight *= tf.exp(self._factor(self._hidden(facts))[..., 0])
        return tf.stack([rain, arriving], -1) * weight[:, None, :, :, None]

    def _of(self, maps: NDArray[np.floating], gauge: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(maps, self.compute_dtype), gauge)


class OfClass(layers.Layer):
    """The pixels of one class of travel times, at one scale.

    Parameters
    ----------
    classes
        Membership of each pixel, shape (gauges, y, x).
    scale
        Squares of this side become one pixel: their mean.
    """

    def __init__(self, classes: NDArray[np.float32], scale: int, **options: str) -> None:
        super().__init__(**options)
        self._classes = classes
        self._scale = scale

    def call(self, channels: tf.Tensor, gauge: tf.Tensor) -> tf.Tensor:
        """(b, t, y, x, c) to (b t, y / scale, x / scale, c)."""
        member = tf.gather(tf.constant(self._classes, self.compute_dtype), gauge)
        mine = channels * member[:, None, :, :, None]
        frames = tf.reshape(mine, (-1, *mine.shape[2:]))
        if self._scale == 1:
            return frames
        return tf.nn.avg_pool2d(frames, self._scale, self._scale, "SAME")


class MeanOverPixels(layers.Layer):
    """Mean over the pixels of a class, back to batch and time: (b t, y, x, c) to (b, t, c).

    Parameters
    ----------
    steps
        Time steps.
    share
        Part of the grid that the pixels of the class are for each gauge, shape (gauges,).
    """

    def __init__(self, steps: int, share: NDArray[np.float32], **options: str) -> None:
        super().__init__(**options)
        self._steps = steps
        self._share = share

    def call(self, frames: tf.Tensor, gauge: tf.Tensor) -> tf.Tensor:
        """Pixels outside the class are zeros, which must not count."""
        means = tf.reduce_mean(frames, (1, 2))
        means = tf.reshape(means, (-1, self._steps, means.shape[-1]))
        return means / tf.gather(tf.constant(self._share, means.dtype), gauge)[:, None, None]


def _head(
    section: FloodModelSection,
    block: PixelContribution,
    maps: ContributionMaps,
    inputs: tuple[keras.KerasTensor, keras.KerasTensor],
    number: int,
) -> keras.Model:
    rain, gauge = inputs
    channels = block(rain, gauge)
    scale = SCALES[number % len(SCALES)]
    frames = OfClass(maps.classes[..., number], scale, name=f"head{number}_class")(channels, gauge)
    share = maps.pixels / maps.classes[..., number].size * len(maps.pixels) / section.heads
    gather = MeanOverPixels(rain.shape[1], share, name=f"head{number}_gather")
    # What falls and what arrives goes on untouched beside what is learnt.
    plain = gather(frames, gauge)
    for place, filters in enumerate(section.filters):
        frames = layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"head{number}_convolution{place}"
        )(frames)
    features = layers.Concatenate(name=f"head{number}_features")([gather(frames, gauge), plain])
    return keras.Model([rain, gauge], features, name=f"head{number}")


def _mean_rain(
    maps: ContributionMaps, inputs: tuple[keras.KerasTensor, keras.KerasTensor]
) -> keras.Model:
    """The mean rain over the area of a gauge, for a network without heads."""
    rain, gauge = inputs
    alike = ContributionMaps(maps.weight, np.zeros_like(maps.delay), maps.classes)
    channels = PixelContribution(alike, False, name="area")(rain, gauge)
    share = maps.pixels / maps.weight[0].size
    everywhere = np.ones_like(maps.weight)
    frames = OfClass(everywhere, 1, name="mean_rain_area")(channels[..., :1], gauge)
    mean = MeanOverPixels(rain.shape[1], share, name="mean_rain")(frames, gauge)
    return keras.Model([rain, gauge], mean, name="head_mean_rain")


def _tail(section: FloodModelSection, sizes: FloodSizes, features: int) -> keras.Model:
    gathered = keras.Input((sizes.steps, features), name="features")
    series = keras.Input((sizes.steps, sizes.series), name="series_in")
    seen = layers.Concatenate(name="seen")([gathered, series])
    cell = {"lstm": layers.LSTM, "gru": layers.GRU}[section.recurrent]
    states = cell(section.units, return_sequences=True, name="recurrent")(seen)
    count = output_count(section)
    ahead = states[:, sizes.steps_in :]
    nonlinear = layers.Dense(count, kernel_initializer="zeros", name="from_states")(ahead)
    nonlinear *= _output_scale(section, sizes.lead_scale)
    nonlinear = LeadShare(sizes.steps_out, name=LEAD_SHARE)(nonlinear)
    # The network starts as persistence of the newest known discharge.
    last = LastKnown(sizes.steps_in, (sizes.steps_out, count), name=LAST_KNOWN)(series)
    if not section.heads:
        output = layers.Add(name="discharge")([nonlinear, last])
        return keras.Model([gathered, series], output, name="tail")
    newest = _linear_inputs(section, sizes, gathered, series)
    linear = layers.Dense(sizes.steps_out * count, kernel_initializer="zeros", name=LINEAR)(newest)
    linear = layers.Reshape((sizes.steps_out, count), name="linear_leads")(linear)
    output = layers.Add(name="discharge")([nonlinear, linear, last])
    return keras.Model([gathered, series], output, name="tail")


def _output_scale(section: FloodModelSection, scale: tuple[float, ...]) -> NDArray[np.float64]:
    """Scale of the outputs, shape (leads, outputs): what a short lead time learns is small."""
    scales = np.repeat(np.array(scale)[:, None], output_count(section), 1)
    if section.output == "gaussian":
        scales[:, 1] = 1.0
    return scales


def _linear_inputs(
    section: FloodModelSection,
    sizes: FloodSizes,
    gathered: keras.KerasTensor,
    series: keras.KerasTensor,
) -> keras.KerasTensor:
    width = section.filters[-1] + PLAIN
    parts = [
        gathered[:, :, width * (head + 1) - PLAIN : width * (head + 1)]
        for head in range(section.heads)
    ]
    steps = min(LINEAR_STEPS + sizes.steps_out, sizes.steps)
    newest = layers.Concatenate(name="plain")([*parts, series])[:, -steps:]
    return layers.Flatten(name=LINEAR_INPUTS)(newest)


class LeadShare(layers.Layer):
    """How much of what was learnt is used at each lead time: all of it while training.

    Parameters
    ----------
    leads
        Number of lead times.
    """

    def __init__(self, leads: int, **options: str) -> None:
        super().__init__(**options)
        self.share = self.add_weight(
            shape=(leads,), initializer="ones", trainable=False, name="share"
        )

    def call(self, learnt: tf.Tensor) -> tf.Tensor:
        """(b, leads, outputs) to the same."""
        return learnt * self.share[:, None]


class LastKnown(layers.Layer):
    """The newest known discharge, in series 0; series 1 tells where it is known.

    Parameters
    ----------
    steps_in
        Steps of the past.
    shape
        Lead times and outputs, which all start from it.
    """

    def __init__(self, steps_in: int, shape: tuple[int, int], **options: str) -> None:
        super().__init__(**options)
        self._steps_in = steps_in
        self._shape = shape

    def call(self, series: tf.Tensor) -> tf.Tensor:
        """(b, t, s) to (b, leads, outputs); 0, the mean, where nothing is known."""
        known = series[:, : self._steps_in, 1]
        steps = tf.range(1, self._steps_in + 1, dtype=series.dtype)
        newest = tf.argmax(known * steps, axis=1)
        value = tf.gather(series[:, :, 0], newest, batch_dims=1)
        # At full size: Keras adds (2, 1, 1) to (2, 2, 1) as if it were a bias of the channels.
        return tf.tile(value[:, None, None], (1, *self._shape))
