import numpy as np

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.evaluation.overlap import image_coverage, image_iou, solid_iou


def item(x0=0.0, width=10.0, x=0.0, y=0.0):
    return KittiObject(
        "Car", 0.0, 0, 0.0, (x0, 0.0, x0 + width, 10.0), (4.0, 2.0, 1.5), (x, y, 20.0), 0.0
    )


def test_image_overlap_of_all_pairs():
    rows, columns = [item(), item(width=5.0)], [item(), item(x0=5.0), item(x0=10.0)]
    np.testing.assert_allclose(image_iou(rows, columns), [[1, 1 / 3, 0], [0.5, 0, 0]])
    np.testing.assert_allclose(image_coverage(rows, columns), [[1, 0.5, 0], [0.5, 0, 0]])


def test_solid_overlap_of_all_pairs_of_each_image():
    rows = [[item(), item(x=100.0)], [], [item(y=0.75)]]
    columns = [[item(x=2.0)], [item()], [item(), item(x=99.0)]]
    bev, volume = solid_iou(rows, columns)
    assert [table.shape for table in bev] == [(2, 1), (0, 1), (1, 2)]
    np.testing.assert_allclose(bev[0], [[1 / 3], [0]], atol=1e-12)
    np.testing.assert_allclose(bev[2], [[1, 0]], atol=1e-12)
    np.testing.assert_allclose(volume[2], [[1 / 3, 0]], atol=1e-12)
