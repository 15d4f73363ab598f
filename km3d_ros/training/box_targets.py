"""Training targets of images for which only 2D boxes are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from km3d_ros.data.class_names import DONT_CARE
from km3d_ros.network.spec import STRIDE, ModelSpec
from km3d_ros.training.box_edges import Box2D, Edges, seen_boxes
from km3d_ros.training.targets import MIN_BOX, draw_peak, ignore, joined


@dataclass(frozen=True)
class BoxTargets:
    """M taught objects of a batch for which only the 2D box is known.

    batch, x, y, class_index, box_center, box_size: as of `ObjectTargets`.
    edges: (M, 4) left, top, right and bottom of the box relative to the cell, in cells.
    own: (M, 4) bool, as of `Box2D`.
    """

    batch: Tensor
    x: Tensor
    y: Tensor
    class_index: Tensor
    box_center: Tensor
    box_size: Tensor
    edges: Tensor
    own: Tensor

    def __len__(self) -> int:
        return self.batch.shape[0]


@dataclass(frozen=True)
class BoxedTargets:
    """Targets of the heatmap and of the objects, for views with 2D boxes.

    views: (V,) int64, index of each view in the images of the batch.
    heatmap: (V, C, h, w) float32 in [0, 1]. care: (V, C, h, w) bool, as of `Targets`.
    objects: of all views; their `batch` is an index into the images of the batch.
    """

    views: Tensor
    heatmap: Tensor
    care: Tensor
    objects: BoxTargets


def make_box_targets(boxes: list[Box2D], view: np.ndarray, spec: ModelSpec) -> BoxedTargets:
    """Targets of one view (image 0) of an image with 2D boxes; view: as of `make_targets`."""
    height, width = spec.input_size
    heatmap = np.zeros((len(spec.classes), height // STRIDE, width // STRIDE), np.float32)
    care = np.ones(heatmap.shape, bool)
    rows: list[tuple[int, int, int]] = []
    sides: list[tuple[float, ...]] = []
    own: list[Edges] = []
    for item in seen_boxes(boxes, view, (0, 0, width - 1, height - 1)):
        x0, y0, x1, y1 = item.box
        if min(x1 - x0, y1 - y0) < MIN_BOX:
            continue
        box = (x0 / STRIDE, y0 / STRIDE, x1 / STRIDE, y1 / STRIDE)
        if item.class_name not in spec.classes:
            ignore(care, box, DONT_CARE, spec.classes)
            continue
        x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
        rows.append((x, y, spec.classes.index(item.class_name)))
        sides.append(box)
        own.append(item.own)
        draw_peak(heatmap[rows[-1][2]], x, y, box)
    n = len(rows)
    cells = torch.tensor(rows, dtype=torch.int64).reshape(n, 3)
    edges = torch.tensor(sides).reshape(n, 2, 2) - cells[:, None, :2]
    objects = BoxTargets(
        batch=torch.zeros(n, dtype=torch.int64),
        x=cells[:, 0],
        y=cells[:, 1],
        class_index=cells[:, 2],
        box_center=edges.mean(1),
        box_size=edges[:, 1] - edges[:, 0],
        edges=edges.flatten(1),
        own=torch.tensor(own, dtype=torch.bool).reshape(n, 4),
    )
    return BoxedTargets(
        views=torch.zeros(1, dtype=torch.int64),
        heatmap=torch.from_numpy(heatmap)[None],
        care=torch.from_numpy(care)[None],
        objects=objects,
    )


def join_box_targets(parts: list[BoxedTargets], views: list[int]) -> BoxedTargets:
    """Targets of single views, joined as those of the images `views` of a batch."""
    objects = [
        replace(p.objects, batch=p.objects.batch + v) for p, v in zip(parts, views, strict=True)
    ]
    return BoxedTargets(
        views=torch.tensor(views),
        heatmap=torch.cat([part.heatmap for part in parts]),
        care=torch.cat([part.care for part in parts]),
        objects=joined(objects),
    )
