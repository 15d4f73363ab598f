import torch

from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.pinhole import Pinholes

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
    return Pinholes(
        torch.stack([camera.projection for camera in CAMERAS]),
        torch.stack([camera.size for camera in CAMERAS]),
    )


def test_each_is_the_camera_that_it_was_made_of():
    points = torch.tensor([[1.0, 2.0, 10.0], [-3.0, 0.5, 30.0]], dtype=torch.float64)
    batch = pinholes()
    assert batch.size.tolist() == [[1242, 375], [640, 480]]
    for i, camera in enumerate(CAMERAS):
        pixels = camera.project(points)
        torch.testing.assert_close(batch.project(points)[i], pixels)
        torch.testing.assert_close(batch.rays(pixels)[i], camera.rays(pixels))
        torch.testing.assert_close(batch.translation[i], camera.translation)


def test_projection_is_that_of_the_calibration():
    projection = torch.tensor(KITTI_P2, dtype=torch.float64)
    torch.testing.assert_close(CAMERAS[0].projection, projection)
