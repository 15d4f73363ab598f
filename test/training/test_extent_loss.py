import math

import pytest
import torch

from km3d_ros.geometry.box3d import Boxes3D, keypoints
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.training.box_targets import BoxTargets
from km3d_ros.training.extent_loss import OUTERMOST, STRETCH, extent_loss, fitted, outermost_points

CLASSES = ("Car", "Pedestrian", "Cyclist")
P = torch.tensor([[720.0, 0, 620, 44], [0, 700, 180, 0.2], [0, 0, 1, 0.003]]).double()
CAMERA = CameraModel.from_projection(P.numpy(), 1242, 375)
OWN = (True, True, True, True)
SIZES = {"Car": (3.9, 1.6, 1.5), "Pedestrian": (0.8, 0.6, 1.75), "Cyclist": (1.8, 0.6, 1.7)}


def project(points):
    """Pixels of points, as a tensor."""
    return torch.from_numpy(CAMERA.project(points))


def boxes_of(name: str) -> Boxes3D:
    """Twelve boxes, turned all around."""
    torch.manual_seed(3)
    center = torch.rand(12, 3).double() * torch.tensor([16, 1, 30]) + torch.tensor([-8, 0.5, 6])
    size = torch.tensor(SIZES[name]).double() * (0.8 + 0.4 * torch.rand(12, 3).double())
    return Boxes3D(center, size, torch.arange(12).double() * 0.55 - math.pi)


def in_space(boxes: Boxes3D, parts) -> torch.Tensor:
    """Points in parts of length, width and height from the bottom's centre, (M, N, 3)."""
    along, left, up = (torch.tensor(parts).double() * boxes.size[:, None]).unbind(-1)
    sine, cosine = boxes.yaw.sin()[:, None], boxes.yaw.cos()[:, None]
    offset = (along * cosine + left * sine, -up, -along * sine + left * cosine)
    bottom = boxes.center + torch.stack((0 * sine[:, 0], boxes.size[:, 2] / 2, 0 * sine[:, 0]), -1)
    return bottom[:, None] + torch.stack(offset, dim=-1)


def car(depth=12.0, yaw=0.6) -> torch.Tensor:
    """Keypoints (1, 9, 2) of a car in cells, float64."""
    size = torch.tensor([SIZES["Car"]]).double()
    boxes = Boxes3D(torch.tensor([[0.0, 1.0, depth]]).double(), size, torch.tensor([yaw]).double())
    return (project(keypoints(boxes)) - torch.tensor([620, 240])) / 4


def extent_of(points: torch.Tensor) -> torch.Tensor:
    """(M, 4) left, top, right and bottom of points (M, N, 2)."""
    return torch.cat((points.amin(1), points.amax(1)), dim=-1)


def extent(offsets: torch.Tensor, name="Car") -> torch.Tensor:
    index = torch.full((len(offsets),), CLASSES.index(name))
    return extent_of(outermost_points(offsets[:, :8], index, CLASSES))


def targets(edges: torch.Tensor, own=OWN, name="Car") -> BoxTargets:
    count = len(edges)
    cell = torch.zeros(count, dtype=torch.int64)
    near, far = edges[:, :2], edges[:, 2:]
    return BoxTargets(
        batch=cell,
        x=cell,
        y=cell,
        class_index=cell + CLASSES.index(name),
        box_center=(near + far) / 2,
        box_size=far - near,
        edges=edges,
        own=torch.tensor(own).expand(count, 4),
    )


def fit(offsets, edges, own=OWN):
    outermost = outermost_points(offsets[:, :8], torch.zeros(len(offsets)).long(), CLASSES)
    return fitted(offsets, outermost, edges, torch.tensor(own).expand(len(offsets), 4))


@pytest.mark.parametrize("name", CLASSES)
def test_outermost_points_are_where_the_camera_sees_them(name):
    boxes = boxes_of(name)
    corners = project(keypoints(boxes))[:, :8] / 4
    found = outermost_points(corners, torch.full((12,), CLASSES.index(name)), CLASSES)
    expected = project(in_space(boxes, OUTERMOST[name])) / 4
    count = expected.shape[1]
    torch.testing.assert_close(found[:, :count], expected, rtol=0, atol=1e-6 * 100)
    # Shorter lists repeat their last.
    last = expected[:, -1:].expand_as(found[:, count:])
    torch.testing.assert_close(found[:, count:], last, rtol=0, atol=1e-6 * 100)


def test_every_object_has_the_points_of_its_class():
    boxes = boxes_of("Car")
    corners = project(keypoints(boxes))[:, :8]
    index = torch.arange(12) % 3
    mixed = outermost_points(corners, index, CLASSES)
    for i in range(12):
        alone = outermost_points(corners[i : i + 1], index[i : i + 1], CLASSES)
        torch.testing.assert_close(mixed[i], alone[0])


def test_silhouette_is_inside_the_cuboid():
    offsets = project(keypoints(boxes_of("Car")))
    inner, outer = extent(offsets), extent_of(offsets[:, :8])
    assert (inner[:, :2] > outer[:, :2] - 1e-4).all()
    assert (inner[:, 2:] < outer[:, 2:] + 1e-4).all()
    assert ((inner - outer).abs()[:, [0, 2]].sum(1) > 0.5).all()


def test_class_that_is_not_listed_ends_at_its_corners():
    offsets = project(keypoints(boxes_of("Car")))
    index = torch.ones(12, dtype=torch.int64)
    found = outermost_points(offsets[:, :8], index, ("Car", "Tram"))
    torch.testing.assert_close(extent_of(found), extent_of(offsets[:, :8]))


def test_box_with_four_own_edges_is_filled():
    offsets = car()
    edges = extent(offsets) * torch.tensor([1.3, 0.8, 1.3, 0.8]) + torch.tensor([2, -1, 2, -1])
    shape, taught = fit(offsets, edges)
    torch.testing.assert_close(extent(shape), edges, rtol=0, atol=1e-9)
    assert taught.tolist() == [[True, True]]


@pytest.mark.parametrize(("axis", "side"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_axis_with_one_own_edge_takes_the_stretch_of_the_other(axis, side):
    offsets = car()
    before = extent(offsets)
    edges = before * 1.25 + torch.tensor([3, -2, 4, -5])
    own = torch.ones(4, dtype=torch.bool)
    own[axis + 2 * (1 - side)] = False
    shape, taught = fit(offsets, edges, own.tolist())
    after = extent(shape)[0]
    torch.testing.assert_close(after[own], edges[0, own], rtol=0, atol=1e-9)
    other = 1 - axis
    stretch = (edges[0, other + 2] - edges[0, other]) / (before[0, other + 2] - before[0, other])
    expected = stretch * (before[0, axis + 2] - before[0, axis])
    torch.testing.assert_close(after[axis + 2] - after[axis], expected)
    assert taught.tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("own", "taught"),
    [
        ((False, False, False, False), [False, False]),
        ((False, True, False, True), [False, True]),
        ((True, False, True, False), [True, False]),
        ((True, True, False, False), [False, False]),
        ((False, False, False, True), [False, False]),
    ],
)
def test_axis_of_which_nothing_is_known_is_not_taught(own, taught):
    offsets = car()
    edges = extent(offsets) * 1.2
    assert fit(offsets, edges, own)[1].tolist() == [taught]
    loss = extent_loss(offsets.requires_grad_(), targets(edges, own), CLASSES)
    (gradient,) = torch.autograd.grad(loss, offsets)
    assert [bool(g != 0) for g in gradient.abs().sum((0, 1))] == taught


@pytest.mark.parametrize(("factor", "limit"), [(0.1, STRETCH[0]), (5.0, STRETCH[1])])
def test_stretch_has_limits_and_keeps_to_the_middle(factor, limit):
    offsets = car()
    before = extent(offsets)
    after = extent(fit(offsets, before * factor)[0])
    torch.testing.assert_close(
        after[:, 2:] - after[:, :2], limit * (before[:, 2:] - before[:, :2])
    )
    torch.testing.assert_close(
        after[:, 2:] + after[:, :2], factor * (before[:, 2:] + before[:, :2])
    )


@pytest.mark.parametrize("own", [OWN, (True, True, False, True), (True, False, True, True)])
def test_fitted_shape_is_not_changed_by_fitting_again(own):
    offsets = car()
    edges = extent(offsets) * torch.tensor([1.4, 0.7, 1.4, 0.7]) + 3
    once, _ = fit(offsets, edges, own)
    twice, _ = fit(once, edges, own)
    assert (once - offsets).abs().max() > 1
    torch.testing.assert_close(twice, once, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CLASSES)
def test_keypoints_that_fit_have_no_loss(name):
    offsets = car()
    edges = extent(offsets, name)
    assert extent_loss(offsets, targets(edges, name=name), CLASSES) < 1e-9
    assert extent_loss(offsets, targets(edges + 1, name=name), CLASSES) > 0.5


def test_loss_is_the_shift_in_cells_or_relative_to_tall_boxes():
    small, large = car(depth=20.0), car(depth=4.0)
    assert extent(small)[0, 3] - extent(small)[0, 1] < 16
    height = extent(large)[0, 3] - extent(large)[0, 1]
    assert height > 40
    shift = torch.tensor([2.0, -1, 2, -1])
    for offsets, expected in ((small, 3), (large, 3 * 16 / height)):
        loss = extent_loss(offsets, targets(extent(offsets) + shift), CLASSES)
        assert loss.item() == pytest.approx(expected)


def test_losses_of_objects_add_up():
    offsets = torch.cat((car(), car(yaw=2.0)))
    edges = extent(offsets) * 1.2
    alone = [extent_loss(offsets[i : i + 1], targets(edges[i : i + 1]), CLASSES) for i in (0, 1)]
    torch.testing.assert_close(extent_loss(offsets, targets(edges), CLASSES), sum(alone))


def test_descent_reaches_the_box_and_keeps_the_shape():
    start = car()
    edges = extent(start) * torch.tensor([1.2, 0.9, 1.2, 0.9]) + torch.tensor([4, 2, 4, 2])
    target, _ = fit(start, edges)
    offsets = start.clone().requires_grad_()
    for step in range(200):
        loss = extent_loss(offsets, targets(edges), CLASSES)
        (gradient,) = torch.autograd.grad(loss, offsets)
        with torch.no_grad():
            offsets -= 2 * (1 - step / 200) * gradient
    assert (extent(start) - edges).abs().max() > 4
    assert (extent(offsets.detach()) - edges).abs().max() < 0.1
    assert (offsets - target).abs().max() < 0.1


def test_target_carries_no_gradient():
    offsets = car()
    edges = extent(offsets) * 1.5
    target, _ = fit(offsets, edges)
    offsets.requires_grad_()
    (gradient,) = torch.autograd.grad(extent_loss(offsets, targets(edges), CLASSES), offsets)
    height = edges[0, 3] - edges[0, 1]
    error = (offsets - target).detach()
    expected = 2 * error / error.abs().amax(1) / 9 * (16 / height).clamp(max=1)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    "offsets",
    [
        torch.zeros(1, 9, 2),
        torch.full((1, 9, 2), 1e4),
        car().float() * torch.tensor([1, -1]),
        car().float() * torch.tensor([1, 0]),
        car().float() * torch.tensor([0, 1]),
    ],
    ids=["all equal", "far off", "upside down", "without height", "without width"],
)
@pytest.mark.parametrize("own", [OWN, (True, False, True, True), (False, True, True, True)])
def test_degenerate_keypoints_have_finite_losses_and_gradients(offsets, own):
    offsets = offsets.clone().requires_grad_()
    loss = extent_loss(offsets, targets(torch.tensor([[-6.0, -3, 6, 3]]), own), CLASSES)
    (gradient,) = torch.autograd.grad(loss, offsets)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().max() <= 2 / 9 + 1e-6


def test_no_objects_have_no_loss():
    offsets = torch.zeros(0, 9, 2, requires_grad=True)
    loss = extent_loss(offsets, targets(torch.zeros(0, 4)), CLASSES)
    assert loss.item() == 0
    loss.backward()
    assert offsets.grad.shape == (0, 9, 2)
