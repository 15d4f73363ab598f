import numpy as np
import pytest
from support.frames import car

from km3d_ros.errors import InputError
from km3d_ros.training.class_sizes import KITTI_SIZES, measured_sizes

RNG = np.random.default_rng(0)


def vans(count, length=5.1, spread=0.1):
    factors = np.exp(spread * RNG.standard_normal(count))
    return [car(class_name="Van", size=(length * f, 1.9, 2.1)) for f in factors.tolist()]


def test_sizes_are_height_width_length_with_relative_spreads():
    sizes = measured_sizes(vans(4000), ("Van",))
    assert sizes["Van"].mean == pytest.approx((2.1, 1.9, 5.1), rel=0.01)
    assert sizes["Van"].spread == pytest.approx((0.05, 0.05, 0.1), rel=0.05)


def test_classes_keep_their_order_and_other_labels_do_not_count():
    objects = [*vans(3), car(class_name="Truck", size=(9.0, 2.5, 3.3)), car(class_name="Tram")]
    assert list(measured_sizes(objects, ("Truck", "Van"))) == ["Truck", "Van"]


def test_few_objects_of_a_class_that_kitti_knows_do_not_change_its_size():
    giant = car(size=(6.0, 3.0, 3.0))
    assert measured_sizes([giant] * 5, ("Car",))["Car"] == KITTI_SIZES["Car"]
    assert measured_sizes([giant] * 50, ("Car",))["Car"].mean == (3.0, 3.0, 6.0)


def test_boxes_without_a_3d_size_do_not_count():
    flat = car(class_name="Bus", size=(-1.0, -1.0, -1.0), center=(-1000.0,) * 3)
    with pytest.raises(InputError, match="no Bus with a 3D box among the labels"):
        measured_sizes([flat, car()], ("Car", "Bus"))
