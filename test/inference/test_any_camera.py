"""One Town scene through five descriptions of a camera: rectified, three lenses, ROI + binning.

With keypoints, sizes and angles that are true, positions agree to a part in 100,000, far within
the 1 % that is asked for. The network's own answers scatter, because it sees a bent, or another,
picture; `benchmarks/any_camera.py` tells how much. Here they may not be moved on the whole.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from km3d_ros.evaluation.oracle import detect_with_truth
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.orientation import corner_offsets
from km3d_ros.inference.detector import Detector
from km3d_ros.town import render, sample_scene
from km3d_ros.town.lens import photograph

FOCAL, WIDTH, HEIGHT = 900.0, 1280, 384
STRONG = {
    "plumb_bob": [-0.28, 0.09, 0.001, -0.0005, -0.01],
    "rational_polynomial": [0.3, -0.1, 0.0004, -0.0003, 0.01, 0.6, -0.05, 0.02],
    "equidistant": [-0.02, 0.004, -0.003, 0.0006],
}
MILD = {
    "plumb_bob": [-0.08, 0.02, 0.0003, -0.0002, 0],
    "rational_polynomial": [0.1, -0.03, 0.0001, -0.0001, 0.003, 0.2, -0.02, 0.006],
    "equidistant": [0.25, 0.1, 0, 0],
}
SCENES = range(4)


def camera_info(width=WIDTH, height=HEIGHT, focal=FOCAL, **changes):
    """A camera with its principal point in the middle."""
    k = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    p = np.column_stack((k, np.zeros(3)))
    return CameraInfo(width=width, height=height, k=k.flatten(), p=p.flatten(), **changes)


REGION = RegionOfInterest(x_offset=220, y_offset=616, width=2 * WIDTH, height=2 * HEIGHT)
SENSOR = {"width": 3000, "height": 2000, "focal": 2 * FOCAL, "roi": REGION}


def five_cameras(lenses):
    cameras = {
        model: CameraModel.from_camera_info(camera_info(d=d, distortion_model=model), False)
        for model, d in lenses.items()
    }
    binned = camera_info(**SENSOR, binning_x=2, binning_y=2)
    return cameras | {
        "rectified": CameraModel.from_camera_info(camera_info(), True),
        "region, binned": CameraModel.from_camera_info(binned, True),
    }


@pytest.fixture(scope="module")
def detector():
    return Detector.from_checkpoint(device="cpu", score_threshold=0, backend="torch")


@pytest.fixture(scope="module")
def frames():
    """Wider and sharper than the cameras."""
    return [render(sample_scene(7, i), 2560, 768, 1.5 * FOCAL / 2560) for i in SCENES]


def seen(label, cameras):
    """Whether all keypoints of a label are inside every image, and its box in each."""
    boxes = []
    for camera in cameras.values():
        offsets = corner_offsets(label.size, label.yaw, camera.level)
        pixels = camera.project(np.array(label.center) + offsets)
        low, high = pixels.min(0), pixels.max(0)
        inside = (low >= 0).all() and high[0] < camera.width and high[1] < camera.height
        boxes.append((*low.tolist(), *high.tolist()) if inside else None)
    return all(boxes), dict(zip(cameras, boxes, strict=True))


def test_true_keypoints_lead_to_the_true_position_through_every_camera(detector, frames):
    cameras = five_cameras(STRONG)
    objects = 0
    for frame in frames:
        known = [item for item in frame.objects if item.class_name in detector.spec.classes]
        visible = [(item, boxes) for item in known for ok, boxes in [seen(item, cameras)] if ok]
        truth = np.array([item.center for item, _ in visible])
        for name, camera in cameras.items():
            labels = [replace(item, box2d=boxes[name]) for item, boxes in visible]
            black = np.zeros((camera.height, camera.width, 3), np.uint8)
            heads = ("hm", "hps", "dim", "rot", "prob")
            found = detect_with_truth(detector, black, camera, labels, heads).center
            error = np.linalg.norm(found - truth, axis=-1) / np.linalg.norm(truth, axis=-1)
            assert error.max() < 1e-5, name
        objects += len(visible)
    assert objects > 15


def test_no_camera_moves_what_the_network_finds(detector, frames):
    cameras = five_cameras(MILD)
    whole_region = CameraModel.from_camera_info(camera_info(**SENSOR), True)
    ratios = {name: [] for name in cameras}
    for frame in frames:
        images = {name: photograph(frame, camera) for name, camera in cameras.items()}
        large = photograph(frame, whole_region)
        images["region, binned"] = cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        found = {name: detector(image, cameras[name]) for name, image in images.items()}
        clear = found["rectified"].center[found["rectified"].score > 0.3]
        for name, detections in found.items():
            apart = np.linalg.norm(clear[:, None] - detections.center, axis=-1)
            nearest = np.linalg.norm(detections.center[apart.argmin(1)], axis=-1)
            distance = np.linalg.norm(clear, axis=-1)
            same = apart.min(1) < 0.2 * distance
            assert same.mean() > 0.7, name
            ratios[name] += (nearest / distance)[same].tolist()
    assert len(ratios["rectified"]) > 8
    for name, values in ratios.items():
        assert abs(np.median(values) - 1) < 0.01, name
