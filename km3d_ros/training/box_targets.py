"""Training targets of images for which only 2D boxes are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from km3d_ros.network.spec import ModelSpec
from km3d_ros.training.box_edges import Box2D, seen_boxes
from km3d_ros.training.targets import draw_objects, joined


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
    seen = seen_boxes(boxes, view, (0, 0, width - 1, height - 1))
    heatmap, care, taught = draw_objects(
        ((item, item.box, item.class_name in spec.classes) for item in seen), spec
    )
    n = len(taught)
    cells = torch.tensor([t[:3] for t in taught], dtype=torch.int64).reshape(n, 3)
    edges = torch.tensor([t.box for t in taught]).reshape(n, 2, 2) - cells[:, None, :2]
    objects = BoxTargets(
        batch=torch.zeros(n, dtype=torch.int64),
        x=cells[:, 0],
        y=cells[:, 1],
        class_index=cells[:, 2],
        box_center=edges.mean(1),
        box_size=edges[:, 1] - edges[:, 0],
        edges=edges.flatten(1),
        own=torch.tensor([t.item.own for t in taught], dtype=torch.bool).reshape(n, 4),
    )
    return BoxedTargets(torch.zeros(1, dtype=torch.int64), heatmap[None], care[None], objects)


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
