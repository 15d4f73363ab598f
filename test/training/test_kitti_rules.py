"""A frame as the benchmark writes it, from the files to the targets."""

import cv2
import numpy as np
import pytest

from km3d_ros.data.kitti import KittiDataset
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.network.spec import STRIDE
from km3d_ros.training.class_sizes import KITTI_SIZES
from km3d_ros.training.initial_weights import new_spec
from km3d_ros.training.targets import make_targets

SPEC = new_spec("lite", (192, 640))
WIDTH, HEIGHT = 1242, 375
P2 = np.array(
    [[710.5, 0, 601.25, 46.125], [0, 710.5, 176.5, 0.25], [0, 0, 1, 0.00390625]], np.float64
)
CALIBRATION = """P0: 7.105e+02 0 6.0125e+02 0 0 7.105e+02 1.765e+02 0 0 0 1 0
P1: 7.105e+02 0 6.0125e+02 -3.8e+02 0 7.105e+02 1.765e+02 0 0 0 1 0
P2: 7.105000000000e+02 0.000000000000e+00 6.012500000000e+02 4.612500000000e+01 \
0.000000000000e+00 7.105000000000e+02 1.765000000000e+02 2.500000000000e-01 \
0.000000000000e+00 0.000000000000e+00 1.000000000000e+00 3.906250000000e-03
P3: 7.105e+02 0 6.0125e+02 -3.3e+02 0 7.105e+02 1.765e+02 2.2e+00 0 0 1 2.7e-03
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
Tr_imu_to_velo: 1 0 0 -0.8 0 1 0 0.32 0 0 1 -0.8

"""
LABELS = """Car 0.00 0 -1.60 640.00 180.00 720.00 230.00 1.50 1.62 3.90 2.10 1.60 21.50 -1.50
Car 0.88 3 -0.70 0.00 170.00 60.00 330.00 1.45 1.60 4.10 -5.60 1.70 6.00 -1.45
Car 0.72 1 2.30 1150.00 180.00 1241.00 374.00 1.55 1.70 4.20 5.90 1.75 6.80 3.05
Van 0.00 0 1.80 80.00 140.00 160.00 220.00 2.10 1.90 5.10 -15.00 1.80 25.00 1.30
Truck 0.00 2 -1.50 200.00 100.00 260.00 200.00 3.40 2.60 11.00 -14.00 1.80 35.00 -1.90
Pedestrian 0.00 0 0.20 300.00 160.00 340.00 260.00 1.75 0.60 0.90 -4.50 1.65 13.00 -0.10
Person_sitting 0.00 0 0.20 360.00 190.00 400.00 260.00 1.25 0.60 0.80 -3.50 1.65 13.50 0.00
Cyclist 0.00 1 1.60 420.00 160.00 460.00 250.00 1.74 0.60 1.80 -2.90 1.60 14.00 1.40
Tram 0.00 0 1.60 480.00 120.00 560.00 200.00 3.50 2.50 16.00 -4.00 1.60 50.00 1.50
Misc 0.00 0 1.60 780.00 180.00 840.00 220.00 1.50 1.50 2.50 6.00 1.60 25.00 1.80
DontCare -1 -1 -10 900.00 160.00 1000.00 200.00 -1 -1 -1 -1000 -1000 -1000 -10
"""
TAUGHT = [("Car", 2.1), ("Car", 5.9), ("Pedestrian", -4.5), ("Cyclist", -2.9)]


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    for part in ("image_2", "label_2", "calib"):
        (root / "training" / part).mkdir(parents=True)
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_text("000007\n")
    cv2.imwrite(str(root / "training/image_2/000007.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (root / "training/label_2/000007.txt").write_text(LABELS)
    (root / "training/calib/000007.txt").write_text(CALIBRATION)
    return KittiDataset(root, "train")[0]


@pytest.fixture(scope="module")
def camera(frame):
    return CameraModel.from_projection(frame.projection, WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def targets(frame, camera):
    return make_targets(frame.objects, camera, virtual_camera(camera, (192, 640)).affine, SPEC)


def projected_keypoints(item):
    """The corners, bottom first, and the centre through the full P2, in plain numpy."""
    length, width, height = item.size
    c, s = np.cos(item.yaw), np.sin(item.yaw)
    signs = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    points = [
        (a * length / 2 * c + b * width / 2 * s, y, b * width / 2 * c - a * length / 2 * s)
        for y in (height / 2, -height / 2)
        for a, b in signs
    ]
    points = np.array([*points, (0, 0, 0)]) + item.center
    homogeneous = np.column_stack((points, np.ones(9))) @ P2.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def test_files_are_read_to_the_last_column(frame):
    np.testing.assert_array_equal(frame.projection, P2)
    assert [item.class_name for item in frame.objects] == [
        line.split()[0] for line in LABELS.splitlines()
    ]
    region = frame.objects[-1]
    assert region.box2d == (900, 160, 1000, 200)
    assert not region.has_box3d
    assert all(item.has_box3d for item in frame.objects[:-1])


def test_objects_of_the_three_classes_are_taught_unless_hardly_visible(targets):
    found = targets.objects
    names = [SPEC.classes[index] for index in found.class_index]
    assert names == [name for name, _ in TAUGHT]
    np.testing.assert_allclose(
        found.center[:, 0] - 46.125 / 710.5, [x for _, x in TAUGHT], atol=4e-3
    )


def test_keypoints_are_those_of_the_full_projection_matrix(frame, targets):
    found = targets.objects
    taught = [item for item in frame.objects if (item.class_name, item.center[0]) in TAUGHT]
    cells = np.stack((found.x, found.y), axis=-1)[:, None] + found.keypoints.numpy()
    to_image = found.to_image.numpy()
    pixels = cells @ to_image[:, :, :2].transpose(0, 2, 1) + to_image[:, None, :, 2]
    assert found.keypoint_mask.all()
    for item, own in zip(taught, pixels, strict=True):
        np.testing.assert_allclose(own, projected_keypoints(item), atol=2e-3)


def test_positions_are_in_the_frame_of_k_where_rays_start(frame, targets):
    shift = np.linalg.solve(P2[:, :3], P2[:, 3])
    car = frame.objects[0]
    np.testing.assert_allclose(targets.objects.center[0], car.center + shift, atol=1e-5)


def test_with_classes_of_ones_own_every_trained_class_is_taught(frame, camera):
    """A Van is a neighbour of Car only where vans are no class of their own."""
    classes = ("Car", "Van", "Truck", "Pedestrian", "Tram")
    spec = new_spec("lite", (192, 640), dict.fromkeys(classes, KITTI_SIZES["Car"]))
    view = virtual_camera(camera, (192, 640)).affine
    targets = make_targets(frame.objects, camera, view, spec)
    taught = [spec.classes[index] for index in targets.objects.class_index]
    assert taught == ["Car", "Car", "Van", "Truck", "Pedestrian", "Tram"]
    x, y = (int(v / STRIDE) for v in view @ (120, 180, 1))
    assert targets.care[:, y, x].all()
    x, y = (int(v / STRIDE) for v in view @ (440, 205, 1))
    assert not targets.care[:, y, x].any(), "a cyclist, which is not trained"
