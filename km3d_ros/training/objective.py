"""The network, its losses and their ramps as one module: a batch in, weighted losses out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import ModelSpec
from km3d_ros.training import processes
from km3d_ros.training.box_targets import BoxedTargets
from km3d_ros.training.consensus import consensus_losses
from km3d_ros.training.dataset import Batch
from km3d_ros.training.extent_loss import extent_loss
from km3d_ros.training.losses import WEIGHTS, focal_loss, object_losses
from km3d_ros.training.settings import Method
from km3d_ros.training.targets import ObjectTargets, Targets, keypoint_cells

RAMP = (0.1, 0.3)
"""Progress of a training, 0 to 1, between which position and consensus losses ramp up."""
CONSENSUS_PARTS = {
    "consensus_peak": 2.0,
    "consensus_size": 1.0,
    "consensus_yaw": 0.3,
    "consensus_position": 1.0,
}
"""Relative weights of the consensus losses."""


class Objective(nn.Module):
    """The losses of a model under a method.

    Losses are divided by the number of objects in all processes of a distributed training. Several
    processes thus have the gradients of one process with the whole batch.
    """

    def __init__(
        self, model: KM3DNet, spec: ModelSpec, method: Method, half_precision: bool = False
    ):
        super().__init__()
        self.model, self.spec, self.method = model, spec, method
        self.half_precision = half_precision
        if method.trained != "all":
            model.requires_grad_(False)
            model.heads[method.trained].requires_grad_(True)
        elsewhere = ("hm", "hm_hp", "hp_offset", "depth_error")
        self.at_objects = [name for name in spec.heads if name not in elsewhere]
        for name in ("mean", "std"):
            levels = torch.tensor(getattr(spec, name))[:, None, None] * 255
            self.register_buffer(name, levels, persistent=False)

    def train(self, mode: bool = True) -> Objective:
        """As `nn.Module.train`; a frozen backbone keeps its batch statistics."""
        super().train(mode)
        if self.method.trained != "all":
            self.model.backbone.eval()
        return self

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Weighted losses by name; the training minimises their sum.

        progress: of the training, 0 to 1.
        """
        labelled, pairs = batch.labelled, batch.pairs
        images = labelled.images if pairs is None else torch.cat((labelled.images, pairs.images))
        images = (images.float() - self.mean) / self.std
        count = len(labelled.images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.half_precision):
            features = self.model.features(images.contiguous(memory_format=torch.channels_last))
            dense = {"hm": self.model.heatmap(features)}
            if "hm_hp" in self.spec.heads:
                dense["hm_hp"] = self.model.heads["hm_hp"](features[:count])
        features, heatmap = features.float(), dense["hm"].float()
        losses = self._supervised(
            features[:count], {n: v[:count].float() for n, v in dense.items()}, labelled.targets
        )
        ramp = exponential_ramp(progress)
        losses["position"] = losses["position"] * (self.method.position_weight * ramp)
        if pairs is not None:
            parts = consensus_losses(
                self.model, features[count:], heatmap[count:], pairs, self.spec
            )
            weight = self.method.consensus_weight * ramp
            losses |= {n: v * (CONSENSUS_PARTS[n] * weight) for n, v in parts.items()}
        if batch.boxed is not None:
            losses |= self._boxed(features[count:], heatmap[count:], batch.boxed)
        return losses

    def _boxed(
        self, features: Tensor, heatmap: Tensor, targets: BoxedTargets
    ) -> dict[str, Tensor]:
        """Weighted losses of those views of the pairs that have 2D boxes."""
        objects = targets.objects
        cells = (objects.batch, objects.x, objects.y)
        names = [name for name in ("hps", "wh", "reg") if name in self.spec.heads]
        heads = self.model.regress(features, *cells, names)
        extent = extent_loss(heads["hps"].unflatten(-1, (9, 2)), objects, self.spec.classes)
        losses = {
            "hm": focal_loss(heatmap[targets.views], targets.heatmap, targets.care),
            "hps": extent * self.method.extent_weight,
        }
        for name, truth in (("wh", objects.box_size), ("reg", objects.box_center)):
            if name in heads:
                losses[name] = (heads[name] - truth).abs().sum()
        count = processes.divisor(heatmap.new_tensor(len(objects)))
        return {f"boxes_{name}": v / count * WEIGHTS[name] for name, v in losses.items()}

    def _supervised(
        self, features: Tensor, dense: dict[str, Tensor], targets: Targets
    ) -> dict[str, Tensor]:
        """Losses of the labelled views; all except "position" are weighted."""
        objects = targets.objects
        cells = (objects.batch, objects.x, objects.y)
        heads = self.model.regress(features, *cells, self.at_objects)
        if "depth_error" in self.spec.heads:
            # This head does not change the features.
            heads |= self.model.regress(features.detach(), *cells, ("depth_error",))
        losses = object_losses(heads, objects, self.spec, self.method.depth_guided)
        losses["hm"] = focal_loss(dense["hm"], targets.heatmap, targets.care)
        if "hm_hp" in dense:
            care = targets.care.all(dim=1, keepdim=True).expand_as(dense["hm_hp"])
            losses["hm_hp"] = focal_loss(dense["hm_hp"], targets.keypoint_heatmap, care) / 9
            losses["hp_offset"] = self._offset_loss(features, objects) / 9
        count = processes.divisor(features.new_tensor(len(objects)))
        return {name: value / count * WEIGHTS.get(name, 1) for name, value in losses.items()}

    def _offset_loss(self, features: Tensor, objects: ObjectTargets) -> Tensor:
        """L1 loss of the positions of the keypoints in their cells, summed."""
        cells, visible = keypoint_cells(objects, *features.shape[-2:])
        x, y = cells[visible].unbind(-1)
        batch = objects.batch[:, None].expand_as(visible)[visible]
        predicted = self.model.regress(features, batch, x, y, ("hp_offset",))["hp_offset"]
        position = torch.stack((objects.x, objects.y), dim=-1)[:, None] + objects.keypoints
        return (predicted - (position - cells)[visible]).abs().sum()


def exponential_ramp(progress: float) -> float:
    """0, an exponential rise, 1 (temporal ensembling, arXiv 1610.02242, section 3.1)."""
    start, end = RAMP
    if progress < start:
        return 0.0
    return math.exp(-5 * (1 - min(1.0, (progress - start) / (end - start))) ** 2)
