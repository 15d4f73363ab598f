import numpy as np
import pytest
import torch
from support.frames import CAMERA, SPEC, VIEW, car

from km3d_ros.geometry import grm
from km3d_ros.geometry.box3d import Boxes3D, keypoint_offsets, keypoints
from km3d_ros.geometry.pinhole import unproject
from km3d_ros.network.spec import STRIDE
from km3d_ros.training.targets import ObjectTargets, keypoint_cells, make_targets

BOX = (car().center, car().size, car().yaw)


def test_peak_is_one_at_the_cell_of_the_box_centre():
    targets = make_targets([car()], CAMERA, VIEW, SPEC)
    assert (targets.objects.x.item(), targets.objects.y.item()) == (560 // 8, 185 // 8)
    assert targets.heatmap[0, 23, 70] == 1
    assert 0 < targets.heatmap[0, 23, 71] < 1
    assert targets.heatmap[1:].max() == 0


def test_box_is_coded_in_cells_around_the_peak():
    objects = make_targets([car()], CAMERA, VIEW, SPEC).objects
    # Pixels 500..620 and 150..220 at half size and stride 4.
    assert objects.box_center.tolist() == [[0.0, 0.125]]
    assert objects.box_size.tolist() == [[15.0, 8.75]]


def test_box_that_the_view_cuts_is_taught_as_far_as_it_is_seen():
    cut = VIEW + np.array([[0, 0, -280.0], [0, 0, 0]])
    objects = make_targets([car()], CAMERA, cut, SPEC).objects
    # Input pixels -30..30 become 0..30.
    assert (objects.x.item(), objects.y.item()) == (3, 23)
    assert objects.box_center.tolist() == [[0.75, 0.125]]
    assert objects.box_size.tolist() == [[7.5, 8.75]]
    right = VIEW + np.array([[0, 0, 360.0], [0, 0, 0]])
    objects = make_targets([car()], CAMERA, right, SPEC).objects
    # 610..670 become 610..639, and no peak is beyond the last cell.
    assert objects.box_size[0, 0] == 29 / 4
    assert objects.x + objects.box_center[0, 0] == (610 + 639) / 8


def test_keypoint_heatmap_peaks_at_the_cells_of_the_keypoints():
    targets = make_targets([car(), car(class_name="Cyclist")], CAMERA, VIEW, SPEC)
    corners = keypoints(Boxes3D(*(torch.tensor(v).double() for v in BOX)))
    pixels = torch.from_numpy(CAMERA.project(corners) @ VIEW[:, :2].T + VIEW[:, 2])
    expected = (pixels / STRIDE).floor().long()
    peaks = (targets.keypoint_heatmap == 1).nonzero()
    assert peaks.tolist() == [[k, *expected[k].flip(0).tolist()] for k in range(9)]
    beside = targets.keypoint_heatmap[torch.arange(9), expected[:, 1], expected[:, 0] + 1]
    assert ((beside > 0.3) & (beside < 1)).all()
    cells, visible = keypoint_cells(targets.objects, 48, 160)
    assert visible.all()
    assert (cells == expected).all()
    offsets = (pixels / STRIDE - cells).float()
    position = torch.stack((targets.objects.x, targets.objects.y), -1)[:, None]
    torch.testing.assert_close(
        position + targets.objects.keypoints - cells, offsets, atol=1e-4, rtol=0
    )
    assert ((offsets >= 0) & (offsets < 1)).all()


def test_keypoints_outside_the_view_have_no_cell():
    cut = VIEW + np.array([[0, 0, -280.0], [0, 0, 0]])
    targets = make_targets([car()], CAMERA, cut, SPEC)
    _, visible = keypoint_cells(targets.objects, 48, 160)
    position = targets.objects.x + targets.objects.keypoints[0, :, 0]
    assert 0 < visible.sum() < 9
    assert (visible[0] == (position >= 0)).all()
    assert (targets.keypoint_heatmap == 1).flatten(1).any(1).tolist() == visible[0].tolist()


def test_keypoints_behind_the_camera_have_no_cell():
    near = car(center=(0.0, 0.2, 1.5), yaw=-np.pi / 2, box2d=(300.0, 100.0, 900.0, 383.0))
    targets = make_targets([near], CAMERA, VIEW, SPEC)
    _, visible = keypoint_cells(targets.objects, 48, 160)
    assert not visible[0, [2, 3, 6, 7]].any()
    assert targets.keypoint_heatmap[[2, 3, 6, 7]].max() == 0
    assert visible[0, 8]


def test_targets_lead_the_grm_back_to_the_labelled_position():
    objects = make_targets([car()], CAMERA, VIEW * 1.2, SPEC).objects
    cells = torch.stack((objects.x, objects.y), -1)[:, None] + objects.keypoints
    pixels = cells @ objects.to_image[:, :, :2].mT + objects.to_image[:, None, :, 2]
    rays = unproject(pixels, objects.intrinsics[:, None])
    center = grm.solve(rays, keypoint_offsets(objects.size, objects.yaw))
    expected = torch.tensor([-2.0, 0.8, 20.0]) + torch.from_numpy(CAMERA.translation).float()
    torch.testing.assert_close(center[0], expected, atol=2e-3, rtol=0)


def test_keypoints_behind_the_camera_are_masked():
    near = car(center=(1.5, 0.8, 1.5), yaw=-np.pi / 2, box2d=(900.0, 100.0, 1279.0, 383.0))
    mask = make_targets([near], CAMERA, VIEW, SPEC).objects.keypoint_mask
    assert mask.tolist() == [[True, True, False, False, True, True, False, False, True]]


def test_all_keypoints_that_can_be_used_are_kept():
    objects = make_targets([car()], CAMERA, VIEW, SPEC).objects
    assert objects.kept.all()
    near = car(center=(1.5, 0.8, 1.5), yaw=-np.pi / 2, box2d=(900.0, 100.0, 1279.0, 383.0))
    objects = make_targets([near], CAMERA, VIEW, SPEC).objects
    assert (objects.kept == objects.keypoint_mask).all()


@pytest.mark.parametrize(
    ("item", "cleared"),
    [
        (car(class_name="Van"), [True, False, False]),
        (car(class_name="DontCare"), [True, True, True]),
        (car(class_name="Truck"), [True, True, True]),
        (car(class_name="Person_sitting"), [False, True, False]),
        (car(class_name="Tram"), [True, True, True]),
        (car(class_name="Misc"), [True, True, True]),
        (car(occlusion=3), [True, False, False]),
        (car(size=(-1.0, -1.0, -1.0)), [True, False, False]),
        (car(center=(0.5, 0.8, -0.5)), [True, False, False]),
    ],
)
def test_what_is_neither_taught_nor_punished(item, cleared):
    targets = make_targets([item], CAMERA, VIEW, SPEC)
    assert (~targets.care[:, 23, 70]).tolist() == cleared
    assert targets.care[:, 5, 5].all()
    assert len(targets.objects) == 0
    assert targets.heatmap.max() == 0


@pytest.mark.parametrize("changes", [{"occlusion": 2}, {"occlusion": -1}, {"truncation": 0.9}])
def test_what_is_hard_or_not_judged_is_taught(changes):
    assert len(make_targets([car(**changes)], CAMERA, VIEW, SPEC).objects) == 1


def test_observation_angle_of_the_label_is_not_used():
    taught = [make_targets([car(alpha=a)], CAMERA, VIEW, SPEC).objects for a in (0.0, -10.0)]
    for name, values in vars(taught[0]).items():
        torch.testing.assert_close(values, getattr(taught[1], name), msg=name)


def test_objects_outside_the_view_are_left_out():
    outside = VIEW + np.array([[0, 0, 5000.0], [0, 0, 0]])
    assert len(make_targets([car()], CAMERA, outside, SPEC).objects) == 0


def test_frame_without_objects_has_empty_targets():
    targets = make_targets([], CAMERA, VIEW, SPEC)
    assert targets.heatmap.shape == (3, 192 // STRIDE, 640 // STRIDE)
    assert targets.care.all()
    assert targets.keypoint_heatmap.shape == (9, 192 // STRIDE, 640 // STRIDE)
    assert targets.keypoint_heatmap.max() == 0
    assert targets.objects.keypoints.shape == (0, 9, 2)
    assert targets.objects.box_size.shape == (0, 2)


def test_joined_targets_know_their_image():
    two = make_targets([car(), car(class_name="Cyclist")], CAMERA, VIEW, SPEC).objects
    none = make_targets([], CAMERA, VIEW, SPEC).objects
    joined = ObjectTargets.cat([two, none, two])
    assert joined.batch.tolist() == [0, 0, 2, 2]
    assert joined.class_index.tolist() == [0, 2, 0, 2]
