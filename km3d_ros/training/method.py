"""The parts of the training method that can be switched; docs/experiments.md measures each."""

from __future__ import annotations

from dataclasses import dataclass

from km3d_ros.errors import InputError
from km3d_ros.network.spec import HEAD_CHANNELS


@dataclass(frozen=True)
class Method:
    """What is trained, apart from the data.

    keypoint_dropout: probability that the GRM has to do without a keypoint (at least two stay).
    depth_guided: whether the keypoint loss grows with the distance of the object.
    position_weight: final weight of the position loss; 0 leaves it out.
    consensus_weight: final weight of the consensus on images without 3D labels.
    extent_weight: weight of the extent that 2D boxes give the keypoints; 0 leaves it out.
    flip: whether half of the views are mirrored.
    photometric: whether views vary in light, colour, blur, noise and compression; else in
        exposure and white balance alone.
    trained: all, or the name of a head: it alone learns, the rest of the network stays as it is.
    """

    keypoint_dropout: float = 0.2
    depth_guided: bool = True
    position_weight: float = 2.0
    consensus_weight: float = 1.0
    extent_weight: float = 1.0
    flip: bool = True
    photometric: bool = True
    trained: str = "all"

    def __post_init__(self):
        if not 0 <= self.keypoint_dropout <= 1:
            raise InputError(f"keypoint_dropout is {self.keypoint_dropout}, expected 0 to 1")
        if self.trained not in ("all", *HEAD_CHANNELS):
            known = ", ".join(("all", *HEAD_CHANNELS))
            raise InputError(f"trained is {self.trained!r}, expected one of {known}")
