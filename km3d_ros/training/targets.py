"""Training targets of a labelled frame in a view (docs/design.md, Mathematics)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from km3d_ros.data.class_names import NEIGHBOURS
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.data.label_report import MIN_DEPTH, why_not_taught
from km3d_ros.geometry.box3d import Boxes3D, keypoints
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.network.spec import STRIDE, ModelSpec

T = TypeVar("T")

MIN_BOX = 2.0
"""Smallest taught 2D box in input pixels."""
PEAK_WIDTH = 0.54 / 6
"""Standard deviation of a peak relative to the sides of its box (TTFNet, arXiv 1909.00700)."""
MIN_DEVIATION = 0.5
"""Smallest standard deviation of a peak, in cells."""
NEGLIGIBLE = 5
"""Standard deviations beyond which a Gaussian counts as 0."""


def joined(parts: Sequence[T]) -> T:
    """Dataclasses of tensors as one: each of its tensors is a concatenation of theirs."""
    kind = type(parts[0])
    return kind(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(kind)))


@dataclass(frozen=True)
class ObjectTargets:
    """M taught objects of a batch.

    batch, x, y: (M,) int64, image and cell of the peak.
    class_index: (M,) int64.
    keypoints: (M, 9, 2) offsets from the cell, in cells.
    keypoint_mask: (M, 9) bool, false for keypoints behind the camera.
    kept: (M, 9) bool, the mask after keypoint dropout: the keypoints that the GRM may use.
    box_center: (M, 2) centre of the 2D box relative to the cell, box_size: (M, 2); in cells.
    size: (M, 3) length, width, height in metres. yaw: (M,). center: (M, 3) in the frame of K.
    intrinsics: (M, 3, 3). to_image: (M, 2, 3) affine from cells to camera pixels.
    """

    batch: Tensor
    x: Tensor
    y: Tensor
    class_index: Tensor
    keypoints: Tensor
    keypoint_mask: Tensor
    kept: Tensor
    box_center: Tensor
    box_size: Tensor
    size: Tensor
    yaw: Tensor
    center: Tensor
    intrinsics: Tensor
    to_image: Tensor

    def __len__(self) -> int:
        return self.batch.shape[0]

    @staticmethod
    def cat(parts: list[ObjectTargets]) -> ObjectTargets:
        """Join the targets of several images; `batch` becomes the index in `parts`."""
        counts = torch.tensor([len(part) for part in parts])
        batch = torch.repeat_interleave(torch.arange(len(parts)), counts)
        return replace(joined(parts), batch=batch)


@dataclass(frozen=True)
class Targets:
    """Targets of the dense heads, and of the objects.

    heatmap: (C, h, w) float32 in [0, 1]. care: (C, h, w) bool, false where peaks are ignored.
    keypoint_heatmap: (9, h, w) float32 in [0, 1].
    """

    heatmap: Tensor
    care: Tensor
    keypoint_heatmap: Tensor
    objects: ObjectTargets


class Taught(NamedTuple):
    """A taught object: cell of its peak, index of its class, 2D box in cells, and its label."""

    x: int
    y: int
    class_index: int
    box: tuple[float, float, float, float]
    item: Any


def make_targets(
    objects: list[KittiObject], camera: CameraModel, view: np.ndarray, spec: ModelSpec
) -> Targets:
    """Targets of one frame without keypoint dropout; view: (2, 3), camera to input pixels."""
    limit = (spec.input_size[1] - 1, spec.input_size[0] - 1)
    seen = []
    for item in objects:
        corners = [view[:, :2] @ item.box2d[i : i + 2] + view[:, 2] for i in (0, 2)]
        is_taught = item.class_name in spec.classes and why_not_taught(item) is None
        seen.append((item, np.clip(corners, 0, limit).ravel().tolist(), is_taught))
    heatmap, care, taught = draw_objects(seen, spec)
    found = _object_targets(taught, camera, view)
    keypoint_heatmap = torch.from_numpy(_keypoint_heatmap(taught, found, *heatmap.shape[1:]))
    return Targets(heatmap, care, keypoint_heatmap, found)


def draw_objects(
    seen: Iterable[tuple[Any, Sequence[float], bool]], spec: ModelSpec
) -> tuple[Tensor, Tensor, list[Taught]]:
    """Heatmap and mask as of `Targets`, and the taught objects.

    seen: labels with a `class_name`, their boxes (x0, y0, x1, y1) in pixels of the input, inside
        the input, and whether they are taught. Others are ignored. Small ones are left out.
    """
    height, width = (side // STRIDE for side in spec.input_size)
    heatmap = np.zeros((len(spec.classes), height, width), np.float32)
    care = np.ones(heatmap.shape, bool)
    taught = []
    for item, (x0, y0, x1, y1), is_taught in seen:
        if min(x1 - x0, y1 - y0) < MIN_BOX:
            continue
        box = (x0 / STRIDE, y0 / STRIDE, x1 / STRIDE, y1 / STRIDE)
        if not is_taught:
            _ignore(care, box, item.class_name, spec.classes)
            continue
        x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
        class_index = spec.classes.index(item.class_name)
        _draw_peak(heatmap[class_index], x, y, box)
        taught.append(Taught(x, y, class_index, box, item))
    return torch.from_numpy(heatmap), torch.from_numpy(care), taught


def _object_targets(taught: list[Taught], camera: CameraModel, view: np.ndarray) -> ObjectTargets:
    n = len(taught)
    cells = torch.tensor([(t.x, t.y) for t in taught], dtype=torch.float64).reshape(n, 2)
    sides = torch.tensor([t.box for t in taught], dtype=torch.float64).reshape(n, 2, 2)
    items = [t.item for t in taught]
    boxes = Boxes3D(
        center=torch.tensor([o.center for o in items], dtype=torch.float64).reshape(n, 3),
        size=torch.tensor([o.size for o in items], dtype=torch.float64).reshape(n, 3),
        yaw=torch.tensor([o.yaw for o in items], dtype=torch.float64),
    )
    points, translation = keypoints(boxes), torch.from_numpy(camera.translation)
    in_front = (points + translation)[..., 2] > MIN_DEPTH
    to_cells = torch.from_numpy(view) / STRIDE
    pixels = torch.from_numpy(camera.project(points.numpy()))
    offsets = pixels @ to_cells[:, :2].T + to_cells[:, 2] - cells[:, None]
    inverse = torch.linalg.inv(to_cells[:, :2])
    to_image = torch.cat([inverse, -(inverse @ to_cells[:, 2:])], dim=1)
    return ObjectTargets(
        batch=torch.zeros(n, dtype=torch.int64),
        x=cells[:, 0].long(),
        y=cells[:, 1].long(),
        class_index=torch.tensor([t.class_index for t in taught], dtype=torch.int64),
        keypoints=torch.where(in_front[..., None], offsets, 0).float(),
        keypoint_mask=in_front,
        kept=in_front,
        box_center=(sides.mean(1) - cells).float(),
        box_size=(sides[:, 1] - sides[:, 0]).float(),
        size=boxes.size.float(),
        yaw=boxes.yaw.float(),
        center=(boxes.center + translation).float(),
        intrinsics=torch.from_numpy(camera.intrinsics).float().expand(n, 3, 3),
        to_image=to_image.float().expand(n, 2, 3),
    )


def _keypoint_heatmap(
    taught: list[Taught], targets: ObjectTargets, height: int, width: int
) -> np.ndarray:
    """(9, h, w): a peak at every visible keypoint of every object."""
    heatmap = np.zeros((9, height, width), np.float32)
    cells, visible = keypoint_cells(targets, height, width)
    for i, k in visible.nonzero().tolist():
        _draw_peak(heatmap[k], *cells[i, k].tolist(), taught[i].box)
    return heatmap


def keypoint_cells(targets: ObjectTargets, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The cells (M, 9, 2) int64 of the keypoints, and (M, 9) bool: those on the grid."""
    position = torch.stack((targets.x, targets.y), dim=-1)[:, None] + targets.keypoints
    cells = position.floor().long()
    limits = cells.new_tensor((width, height))
    return cells, targets.keypoint_mask & ((cells >= 0) & (cells < limits)).all(-1)


def _ignore(
    care: np.ndarray, box: tuple[float, ...], class_name: str, classes: tuple[str, ...]
) -> None:
    """Clear `care` in the box of an object that is not taught.

    Of a trained class or a neighbour of one (the benchmark's rule), only the peaks of that class
    are ignored there. Of any other class (DontCare, a truck where trucks are not trained), the
    peaks of all classes: the network may take such objects for those that it is taught.
    """
    x0, y0, x1, y1 = (round(v) for v in box)
    names = {class_name, NEIGHBOURS.get(class_name)}.intersection(classes) or classes
    indices = [classes.index(name) for name in names]
    care[indices, y0 : y1 + 1, x0 : x1 + 1] = False


def _draw_peak(heatmap: np.ndarray, x: int, y: int, box: tuple[float, ...]) -> None:
    """Draw a Gaussian of the shape of a box (in cells) around a cell; higher values stay."""
    x0, y0, x1, y1 = box
    rows, vertical = _bell(y, PEAK_WIDTH * (y1 - y0), heatmap.shape[0])
    columns, horizontal = _bell(x, PEAK_WIDTH * (x1 - x0), heatmap.shape[1])
    window = heatmap[rows, columns]
    np.maximum(window, vertical[:, None] * horizontal, out=window)


def _bell(middle: int, deviation: float, count: int) -> tuple[slice, np.ndarray]:
    """A Gaussian, over those of `count` cells where it is not negligible."""
    deviation = max(deviation, MIN_DEVIATION)
    reach = math.ceil(NEGLIGIBLE * deviation)
    cells = slice(max(0, middle - reach), min(count, middle + reach + 1))
    distance = (np.arange(cells.start, cells.stop) - middle) / deviation
    return cells, np.exp(-(distance**2) / 2)
