import numpy as np
import torch

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.pinhole import Pinholes, unproject

KITTI_P2 = [
    [721.5377, 0.0, 609.5593, 44.85728],
    [0.0, 721.5377, 172.854, 0.2163791],
    [0.0, 0.0, 1.0, 0.002745884],
]
OTHER = [[500.0, 1.3, 320.0, 0.0], [0.0, 510.0, 240.0, -30.0], [0.0, 0.0, 1.0, 0.0]]
CAMERAS = [
    CameraModel.from_projection(KITTI_P2, 1242, 375),
    CameraModel.from_projection(OTHER, 640, 480),
]


def pinholes():
    return Pinholes(torch.from_numpy(np.stack([camera.projection for camera in CAMERAS])))


def test_each_is_the_camera_that_it_was_made_of():
    points = torch.tensor([[1.0, 2.0, 10.0], [-3.0, 0.5, 30.0]], dtype=torch.float64)
    batch = pinholes()
    for i, camera in enumerate(CAMERAS):
        pixels = camera.project(points.numpy())
        rays = batch.rays(torch.from_numpy(pixels))[i]
        np.testing.assert_allclose(batch.project(points)[i], pixels)
        np.testing.assert_allclose(rays, camera.rays(pixels), rtol=1e-6)
        np.testing.assert_allclose(batch.translation[i], camera.translation)


def test_projection_is_that_of_the_calibration():
    np.testing.assert_allclose(CAMERAS[0].projection, KITTI_P2)


def test_unproject_takes_one_intrinsic_per_image():
    intrinsics = torch.tensor(
        [[[700.0, 0, 640], [0, 710, 192], [0, 0, 1]], [[100, 0, 0], [0, 50, 0], [0, 0, 1]]]
    )
    rays = unproject(torch.tensor([[[640.0, 192.0]], [[200.0, 200.0]]]), intrinsics[:, None])
    assert rays.tolist() == [[[0.0, 0.0]], [[2.0, 4.0]]]
