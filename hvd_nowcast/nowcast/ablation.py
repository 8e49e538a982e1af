"""A model without parts of its input: what each of them is worth."""

from __future__ import annotations

from hvd_nowcast.nowcast.model import NowcastModel
from hvd_nowcast.nowcast.predictor import Predictor


def ablations(model: NowcastModel) -> dict[str, NowcastModel]:
    """The model shown less, by source; only what differs from it.

    ``model_without_motion`` misses the frames moved on along the motion of the rain,
    ``model_newest_frame`` all input frames but the newest, and ``model_half_frames`` the older half
    of them. The motion is that of the frames that are left: with one frame the rain stands still.

    Parameters
    ----------
    model
        The whole model; of another kind than `Predictor` there are none.
    """
    if not isinstance(model, Predictor):
        return {}
    frames = model.frames_in
    without: dict[str, NowcastModel] = {}
    if model.config.model.advection:
        without["model_without_motion"] = model.shown_less(frames, motion=False)
    if frames > 1:
        without["model_newest_frame"] = model.shown_less(1, motion=True)
    if frames > 2:
        without["model_half_frames"] = model.shown_less((frames + 1) // 2, motion=True)
    return without
