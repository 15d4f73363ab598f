"""The result of a detector for one image, as named tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor


@dataclass(frozen=True)
class Detections:
    """N objects of one image, ordered by falling peak score; float32 tensors unless stated.

    Pixels are those of the camera image, positions are metres in the camera's optical frame
    (x right, y down, z forward), angles are radians in [-pi, pi).
    """

    class_index: Tensor
    """(N,) int64: index into the model's class names."""
    score: Tensor
    """(N,): peak_score * confidence."""
    peak_score: Tensor
    """(N,): probability of the heatmap peak."""
    confidence: Tensor
    """(N,): expected 3D IoU, both boxes at twice their size (published weights: plain IoU)."""
    depth_error: Tensor
    """(N,): expected relative error of the depth."""
    box2d: Tensor
    """(N, 4): x0, y0, x1, y1 of the predicted 2D box, clipped to the image. Weights without the
    heads `wh` and `reg` give the extent of the eight projected corners."""
    keypoints: Tensor
    """(N, 9, 2): projected corners 0..7 and the centre (8); may lie outside the image."""
    size: Tensor
    """(N, 3): length, width, height."""
    center: Tensor
    """(N, 3): the geometric centre of the box."""
    yaw: Tensor
    """(N,): rotation about the camera's y axis, KITTI's rotation_y."""
    alpha: Tensor
    """(N,): observation angle."""
    covariance: Tensor
    """(N, 4, 4): of x, y, z, yaw."""
    reprojection_error: Tensor
    """(N,): root mean square distance of predicted and reprojected keypoints, pixels."""

    def __len__(self) -> int:
        return self.score.shape[0]

    def __getitem__(self, index) -> Detections:
        """The same table with the rows that a slice, an index tensor or a mask selects."""
        return Detections(**{f.name: getattr(self, f.name)[index] for f in fields(self)})
