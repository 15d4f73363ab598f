import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.frames import PROJECTION, SPEC, car

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.geometry.box3d import Boxes3D, keypoints, observation_angle
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.decode import BIN_CENTERS
from km3d_ros.network.spec import STRIDE, ModelSpec
from km3d_ros.training.augment import kept_keypoints, mirrored
from km3d_ros.training.consensus import (
    BELIEVED,
    SIZE_SPREAD,
    consensus_losses,
    corresponding_peaks,
)
from km3d_ros.training.dataset import Pairs
from km3d_ros.training.losses import POSITION_TOLERANCE
from km3d_ros.training.targets import Targets, make_targets

WIDTH, HEIGHT = 1280, 384
GRID = (192 // STRIDE, 640 // STRIDE)
OBJECTS = 16
PLAIN = ((0.5, 0.0, 0.0), False)
VIEWS = {
    "plain": PLAIN,
    "shifted": ((0.5, -20.3, 7.9), False),
    "near": ((0.65, -102.0, -25.2), False),
    "far": ((0.3, 130.6, 40.0), False),
    "mirrored": ((0.5, 0.0, 0.0), True),
    "mirrored near": ((0.62, -60.4, -30.1), True),
    "mirrored far": ((0.31, 100.2, 31.7), True),
}
"""Scale and shift from camera to input pixels, and whether the image is mirrored before."""


def labelled(**values) -> KittiObject:
    """An object with the 2D box that its 3D box projects to."""
    item = car(**values)
    camera = CameraModel.from_projection(PROJECTION, WIDTH, HEIGHT)
    corners = torch.from_numpy(camera.project(keypoints(Boxes3D(*_box(item)))))
    box = (*corners.amin(0).tolist(), *corners.amax(0).tolist())
    return replace(item, box2d=box)


def _box(item: KittiObject) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(v, dtype=torch.float64) for v in (item.center, item.size, item.yaw))


CARS = [labelled(), labelled(center=(3.5, 0.9, 33.0), yaw=-1.9)]
CYCLIST = labelled(class_name="Cyclist", center=(0.3, 0.6, 13.0), size=(1.7, 0.6, 1.7), yaw=2.9)


class Knower:
    """A network that knows what is where in each of its images.

    `said` may be changed to make it err: values of each head by name, (objects, channels).
    """

    def __init__(self, views: list[Targets], spec: ModelSpec = SPEC):
        self.cells = [torch.stack((v.objects.x, v.objects.y), -1).float() for v in views]
        self.said = [_truth(view, spec) for view in views]

    def regress(self, features, batch, x, y, names):
        """The heads of the nearest object, keypoints relative to the cell that was asked for."""
        rows = []
        for image, cell in zip(batch.tolist(), torch.stack((x, y), -1).float(), strict=True):
            i = (self.cells[image] - cell).norm(dim=-1).argmin()
            row = {name: self.said[image][name][i] for name in names}
            moved = (self.cells[image][i] - cell).repeat(9)
            rows.append(row | {"hps": row["hps"] + moved})
        return {name: torch.stack([row[name] for row in rows]) for name in names}


def _truth(view: Targets, spec: ModelSpec) -> dict[str, torch.Tensor]:
    objects = view.objects
    coded = objects.size[:, [2, 1, 0]]
    if spec.dimension_mean:
        mean = torch.tensor(spec.dimension_mean)[objects.class_index]
        coded = (coded / mean).log() / torch.tensor(spec.dimension_spread)[objects.class_index]
    alpha = observation_angle(objects.yaw, objects.center[:, 0] / objects.center[:, 2])
    residual = alpha[:, None] - torch.tensor(BIN_CENTERS)
    inside = torch.cos(residual)
    rotation = torch.stack((-inside, inside, residual.sin(), residual.cos()), dim=-1)
    return {
        "hps": objects.keypoints.flatten(1),
        "dim": coded,
        "rot": rotation.flatten(1),
        "prob": torch.zeros(len(objects), 1),
    }


def scene(
    views: list[tuple],
    items: list[list[KittiObject]],
    dropout: float = 0.0,
    seed: int = 0,
    spec: ModelSpec = SPEC,
) -> tuple[Knower, torch.Tensor, Pairs]:
    """What the network, its heatmap and the batch are for views of one frame each.

    views: the first ones, then the second ones; items: what is there when each is seen.
    """
    targets, parts = [], []
    rng = np.random.default_rng(seed)
    for (affine, is_mirrored), objects in zip(views, items, strict=True):
        scale, *shift = affine
        view = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        projection = PROJECTION
        if is_mirrored:
            blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            _, projection, objects = mirrored(blank, PROJECTION, objects)
        camera = CameraModel.from_projection(projection, WIDTH, HEIGHT)
        targets.append(make_targets(objects, camera, view, spec))
        to_image = torch.tensor(
            [[STRIDE / scale, 0, -shift[0] / scale], [0, STRIDE / scale, -shift[1] / scale]]
        )
        to_original = to_image.clone()
        if is_mirrored:
            to_original[0] = -to_image[0]
            to_original[0, 2] += WIDTH - 1
        kept = kept_keypoints(OBJECTS, dropout, rng)
        mirror = torch.tensor(is_mirrored)
        parts.append(
            (to_image, to_original, torch.from_numpy(camera.intrinsics).float(), mirror, kept)
        )
    images = torch.zeros(len(views), 3, 1, 1, dtype=torch.uint8)
    pairs = Pairs(images, *(torch.stack(column) for column in zip(*parts, strict=True)))
    heatmap = torch.stack([view.heatmap for view in targets])
    # A peak becomes 1 exactly, so that losses are plain means over the objects.
    return Knower(targets, spec), torch.where(heatmap == 1, 30.0, heatmap.logit(1e-6)), pairs


def losses_of(network: Knower, heatmap: torch.Tensor, pairs: Pairs, spec: ModelSpec = SPEC):
    losses = consensus_losses(network, torch.zeros(len(heatmap), 1, *GRID), heatmap, pairs, spec)
    assert set(losses) == {f"consensus_{part}" for part in ("peak", "size", "yaw", "position")}
    return {name.removeprefix("consensus_"): value for name, value in losses.items()}


def huber(relative: np.ndarray) -> float:
    size = np.abs(relative)
    small = 0.5 * size**2 / POSITION_TOLERANCE
    return np.where(size < POSITION_TOLERANCE, small, size - POSITION_TOLERANCE / 2).sum()


def in_frame_of_k(item: KittiObject) -> np.ndarray:
    camera = CameraModel.from_projection(PROJECTION, WIDTH, HEIGHT)
    return np.array(item.center) + camera.translation


@pytest.mark.parametrize(
    ("first", "dropout"),
    [*((name, 0.5) for name in VIEWS), ("plain", 0.0), ("mirrored near", 1.0)],
)
def test_views_of_the_truth_agree(first, dropout):
    views = [VIEWS[first]] * len(VIEWS) + list(VIEWS.values())
    items = [[*CARS, CYCLIST]] * len(views)
    network, heatmap, pairs = scene(views, items, dropout, seed=len(first))
    one, other = corresponding_peaks(heatmap, pairs)
    assert (torch.minimum(one.score, other.score) > BELIEVED).sum() == 3 * len(VIEWS)
    for name, value in losses_of(network, heatmap, pairs).items():
        assert value.item() == pytest.approx(0, abs=2e-5), name


def test_each_image_is_compared_with_its_own_second_view():
    views = [VIEWS[name] for name in ("near", "mirrored", "mirrored far", "shifted")]
    items = [[CARS[0]], [CARS[1], CYCLIST], [CARS[0]], [CARS[1], CYCLIST]]
    for name, value in losses_of(*scene(views, items, dropout=0.3)).items():
        assert value.item() == pytest.approx(0, abs=2e-4), name
    strangers = [items[0], items[1], [labelled(center=(-2.1, 0.8, 21.0))], items[3]]
    assert losses_of(*scene(views, strangers))["position"] > 0.01


@pytest.mark.parametrize("second", ["plain", "mirrored near"])
def test_another_size_in_one_view_costs_its_ratio_and_moves_the_object(second):
    network, heatmap, pairs = scene([VIEWS["shifted"], VIEWS[second]], [CARS, CARS])
    spread = torch.tensor(SPEC.dimension_spread)[0]
    network.said[1]["dim"] += 0.05 / spread
    losses = losses_of(network, heatmap, pairs)
    assert losses["size"].item() == pytest.approx(0.05 / SIZE_SPREAD, rel=1e-3)
    assert losses["yaw"].item() == pytest.approx(0, abs=1e-5)
    # The same keypoints of a larger object: farther away by the same factor.
    factor = math.exp(0.05)
    expected = [
        huber((factor - 1) * in_frame_of_k(c) / ((factor + 1) / 2 * in_frame_of_k(c)[2]))
        for c in CARS
    ]
    assert losses["position"].item() == pytest.approx(np.mean(expected), rel=0.01)


@pytest.mark.parametrize("second", ["plain", "mirrored near"])
def test_another_yaw_in_one_view_costs_its_cosine(second):
    network, heatmap, pairs = scene([VIEWS["shifted"], VIEWS[second]], [CARS[:1], CARS[:1]])
    residual = network.said[1]["rot"].unflatten(-1, (2, 4))[..., 2:]
    angle = torch.atan2(residual[..., 0], residual[..., 1]) + 0.1
    residual.copy_(torch.stack((angle.sin(), angle.cos()), dim=-1))
    losses = losses_of(network, heatmap, pairs)
    assert losses["yaw"].item() == pytest.approx(1 - math.cos(0.1), rel=1e-3)
    assert losses["size"].item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("second", ["plain", "mirrored near"])
@pytest.mark.parametrize("factor", [1.01, 1.08])
def test_another_position_in_one_view_costs_its_relative_distance(second, factor):
    before = in_frame_of_k(CARS[0])
    center = factor * before - (before - np.array(CARS[0].center))
    moved = replace(CARS[0], center=tuple(center))
    network, heatmap, pairs = scene([VIEWS["shifted"], VIEWS[second]], [CARS[:1], [moved]])
    losses = losses_of(network, heatmap, pairs)
    expected = huber((factor - 1) * before / ((factor + 1) / 2 * before[2]))
    assert losses["position"].item() == pytest.approx(expected, rel=0.02)
    assert losses["size"].item() == pytest.approx(0, abs=1e-5)
    assert losses["yaw"].item() == pytest.approx(0, abs=1e-5)


def test_both_views_learn_from_a_disagreement():
    network, heatmap, pairs = scene([PLAIN, VIEWS["mirrored"]], [CARS, CARS], dropout=0.3)
    for said in network.said:
        said["hps"] = (said["hps"] * 1.01).requires_grad_()
        said["dim"] = said["dim"].requires_grad_()
    network.said[1]["dim"].data += 0.3
    sum(losses_of(network, heatmap, pairs).values()).backward()
    for said in network.said:
        for name in ("hps", "dim"):
            assert said[name].grad.isfinite().all()
            assert said[name].grad.abs().max() > 0


@pytest.mark.parametrize("broken", [0, 1])
def test_position_that_one_view_leaves_open_costs_and_teaches_nothing(broken):
    network, heatmap, pairs = scene([PLAIN, VIEWS["mirrored"]], [CARS, CARS])
    pairs.kept[broken, :, 1:] = False
    for said in network.said:
        said["hps"] = (said["hps"] * 1.02).requires_grad_()
    losses = losses_of(network, heatmap, pairs)
    assert losses["position"] == 0
    losses["position"].backward()
    for said in network.said:
        assert (said["hps"].grad == 0).all()


@pytest.mark.parametrize("depth", [60.0, -20.0])
def test_absurd_positions_are_not_compared(depth):
    network, heatmap, pairs = scene([PLAIN, VIEWS["shifted"]], [CARS[:1], CARS[:1]])
    center = network.said[1]["hps"].view(9, 2)[8].clone()
    shape = network.said[1]["hps"].view(9, 2) - center
    network.said[1]["hps"] = (center + shape * 20 / depth).view(1, 18)
    assert losses_of(network, heatmap, pairs)["position"] == 0


def test_size_below_zero_has_a_finite_loss():
    metric = replace(SPEC, dimension_mean=(), dimension_spread=())
    network, heatmap, pairs = scene([PLAIN, VIEWS["shifted"]], [CARS, CARS], spec=metric)
    network.said[1]["dim"] = (network.said[1]["dim"] - 1.6).requires_grad_()
    losses = losses_of(network, heatmap, pairs, metric)
    assert losses["size"].isfinite()
    sum(losses.values()).backward()
    assert network.said[1]["dim"].grad.isfinite().all()


def test_disagreement_counts_as_much_as_the_less_certain_view_believes():
    network, heatmap, pairs = scene([PLAIN, PLAIN], [CARS[:1], CARS[:1]])
    network.said[1]["dim"] += 0.05 / torch.tensor(SPEC.dimension_spread)[0]
    peak = heatmap == 30
    for first, second, weight in ((1.0, 0.6, 0.6), (0.4, 0.9, 0.4), (1.0, 0.19, 0), (0.1, 1, 0)):
        belief = torch.tensor([first, second]).clamp(max=0.9999999)[:, None, None, None]
        certain = torch.where(peak, belief.logit(), -10.0)
        size = losses_of(network, certain, pairs)["size"].item()
        assert size == pytest.approx(weight * 0.05 / SIZE_SPREAD, rel=1e-3)


def test_images_without_objects_cost_nothing():
    network, heatmap, pairs = scene([PLAIN, VIEWS["far"]], [CARS, CARS])
    losses = losses_of(network, torch.full_like(heatmap, -8.0), pairs)
    assert all(value == 0 for value in losses.values())


def _heatmap(cells: list[tuple[int, int] | None]) -> torch.Tensor:
    heatmap = torch.full((len(cells), 3, *GRID), -9.0)
    for image, cell in enumerate(cells):
        if cell is not None:
            heatmap[image, 0, cell[1], cell[0]] = 4.0
    return heatmap


@pytest.mark.parametrize("second", VIEWS)
@pytest.mark.parametrize("first", ["plain", "mirrored far"])
def test_peak_is_found_in_the_cell_that_shows_the_same_point(first, second):
    points = np.random.default_rng(1).uniform((0, 0), (WIDTH, HEIGHT), (25, 2))
    cells = [_cells_of(points, VIEWS[name]) for name in (first, second)]
    in_both = np.logical_and(*(((c >= 0) & (c < GRID[::-1])).all(1) for c in cells))
    cells = np.concatenate([c[in_both] for c in cells])
    count = in_both.sum()
    _, _, pairs = scene(
        [VIEWS[first]] * count + [VIEWS[second]] * count, [[] for _ in range(2 * count)]
    )
    one, other = corresponding_peaks(_heatmap(cells.tolist()), pairs)
    found = [np.stack((p.x[:, 0], p.y[:, 0]), axis=1) for p in (one, other)]
    assert (found[0] == cells[:count]).all()
    hit = (found[1] == cells[count:]).all(1)
    # Zoomed to more than twice its size, a cell spans more cells than are searched.
    enough = 0.9 if VIEWS[second][0][0] > 2 * VIEWS[first][0][0] else 1.0
    assert count >= 5
    assert hit.mean() >= enough


def _cells_of(points: np.ndarray, view: tuple) -> np.ndarray:
    (scale, *shift), is_mirrored = view
    seen = np.where(is_mirrored, (WIDTH - 1, 0), 0) + points * np.where(is_mirrored, (-1, 1), 1)
    return np.floor((seen * scale + shift) / STRIDE).astype(int)


def test_peaks_at_the_border_and_outside_of_the_second_view():
    _, _, pairs = scene([PLAIN, ((0.5, -40.0, 0.0), False)], [[], []])
    for x, expected in ((10, 0), (159, 149)):
        cells = [(x, 0), (expected, 0)]
        _, other = corresponding_peaks(_heatmap(cells), pairs)
        assert (other.x[0, 0].item(), other.y[0, 0].item()) == (expected, 0)
        assert other.score[0, 0] > 0.9
    everywhere = _heatmap([(5, 0), None])
    everywhere[1] = 4.0
    _, other = corresponding_peaks(everywhere, pairs)
    assert other.score[0, 0] == 0
    assert 0 <= other.x[0, 0] < GRID[1]


def test_peak_of_another_class_does_not_correspond():
    _, _, pairs = scene([PLAIN, PLAIN], [[], []])
    heatmap = _heatmap([(50, 20), (50, 20)])
    heatmap[1] = heatmap[1].roll(1, 0)
    _, other = corresponding_peaks(heatmap, pairs)
    assert other.class_index[0, 0] == 0
    assert other.score[0, 0] < 0.01


def test_a_peak_that_one_view_doubts_costs_its_squared_difference():
    network, heatmap, pairs = scene([PLAIN, VIEWS["mirrored near"]], [CARS[:1], CARS[:1]])
    for view, probability in ((0, 0.8), (1, 0.3)):
        heatmap[view] = torch.where(
            heatmap[view] == 30, math.log(probability / (1 - probability)), -9
        )
    heatmap.requires_grad_()
    loss = losses_of(network, heatmap, pairs)["peak"]
    assert loss.item() == pytest.approx(0.5**2, abs=1e-4)
    loss.backward()
    slope = heatmap.grad.flatten(1)
    assert slope[0].max() > 0 > slope[1].min()
    assert slope.count_nonzero() == 2


def test_an_object_outside_of_the_second_view_is_not_missed_there():
    away = ((0.5, 5000.0, 0.0), False)
    network, heatmap, pairs = scene([PLAIN, away], [CARS[:1], CARS[:1]])
    network.cells[1], network.said[1] = network.cells[0], network.said[0]
    assert losses_of(network, heatmap, pairs)["peak"].item() == 0
