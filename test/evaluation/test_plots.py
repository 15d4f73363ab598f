from dataclasses import replace

import cv2
import numpy as np
from support.frames import car

from km3d_ros.evaluation.kitti_ap import curves
from km3d_ros.evaluation.plots import plot_depth_errors, plot_precision

TRUTH = [[car(center=(0.0, 1.0, 10.0 + i / 2))] for i in range(60)]


def found(factor):
    return [
        [replace(item, center=(0.0, 1.0, factor * item.center[2]), score=0.9)] for (item,) in TRUTH
    ]


def drawn(path):
    """How many pixels are neither white nor grey."""
    image = cv2.imread(str(path)).astype(int)
    return int((np.ptp(image, axis=2) > 40).sum())


def test_each_class_has_its_curves(tmp_path):
    paths = plot_precision(curves(TRUTH, found(1.0)), tmp_path)
    assert [path.name for path in paths] == [
        "precision_car.png",
        "precision_pedestrian.png",
        "precision_cyclist.png",
    ]
    assert all(drawn(path) > 500 for path in paths)


def test_depth_errors_have_a_panel_per_class(tmp_path):
    some, none = tmp_path / "some.png", tmp_path / "none.png"
    plot_depth_errors(TRUTH, found(1.1), ["Car", "Cyclist"], some)
    plot_depth_errors(TRUTH, [[]] * len(TRUTH), ["Car", "Cyclist"], none)
    assert drawn(some) > 1000
    assert drawn(none) == 0
