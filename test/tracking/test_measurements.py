import numpy as np
import pytest
from support.moving import detections

from km3d_ros.tracking.measurements import (
    DISTANCE_SPREAD,
    RANGE_VARIANCE,
    USUAL_DISTANCE,
    Boxes,
    level_measurements,
    without_prior,
)

OPTICAL = np.array([(0, 0, 1), (-1, 0, 0), (0, -1, 0)], float)
"""From a level camera's optical frame into a frame with z up."""
AHEAD = np.array([0.5, -0.5, 0.5, 0.5])
"""The quaternion of a box in the optical frame that faces away from the camera."""


def boxes(count: int = 1, **changes) -> Boxes:
    covariance = np.zeros((count, 6, 6))
    covariance[:, range(6), range(6)] = (0.01, 0.02, 1.0, np.pi**2, 0.04, np.pi**2)
    values = {
        "class_names": ["Car"] * count,
        "score": np.full(count, 0.5),
        "position": np.tile((2.0, 1.0, 20.0), (count, 1)),
        "quaternion": np.tile(AHEAD, (count, 1)),
        "size": np.tile((4.0, 1.8, 1.5), (count, 1)),
        "covariance": covariance,
    }
    return Boxes(**(values | changes))


def test_a_detection_of_a_camera_in_a_level_frame():
    measured, faults = level_measurements(boxes(), OPTICAL, np.array([1.0, 2.0, 1.6]))
    assert measured.position[0] == pytest.approx((21.0, 0.0, 0.6))
    assert measured.yaw[0] == pytest.approx(0.0)
    assert np.diag(measured.covariance[0]) == pytest.approx((1.0009, 0.0109, 0.0209))
    assert measured.yaw_variance[0] == pytest.approx(0.0409, rel=1e-3)
    assert measured.origin.tolist() == [1.0, 2.0, 1.6]
    assert faults == type(faults)()


def test_a_pitched_camera_does_not_make_the_yaw_uncertain():
    """The other rotations of the box are not measured, but the box stands upright."""
    pitch = np.radians(20)
    c, s = np.cos(pitch), np.sin(pitch)
    down = np.array([(c, 0, s), (0, 1, 0), (-s, 0, c)])
    # The box is upright in the level frame, so in the camera's frame it is pitched.
    turn = (down @ OPTICAL).T @ np.eye(3)
    w = np.sqrt(1 + np.trace(turn)) / 2
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    quaternion = np.append(axis / (4 * w), w)
    measured, _ = level_measurements(
        boxes(quaternion=quaternion[None]), down @ OPTICAL, np.zeros(3)
    )
    assert measured.yaw[0] == pytest.approx(0.0, abs=1e-9)
    assert measured.yaw_variance[0] == pytest.approx(0.04 / c**2 + 0.0009, rel=0.05)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score", [np.nan]),
        ("score", [1.5]),
        ("score", [-0.1]),
        ("position", [(np.nan, 1, 20)]),
        ("position", [(np.inf, 1, 20)]),
        ("position", [(1, 1, 2e4)]),
        ("size", [(4, 0, 1.5)]),
        ("size", [(4, np.nan, 1.5)]),
        ("size", [(-4, 1.8, 1.5)]),
        ("quaternion", [(0, 0, 0, 0)]),
        ("quaternion", [(np.nan, 0, 0, 1)]),
    ],
)
def test_a_detection_that_makes_no_sense_is_left_out(name, value):
    two = boxes(2)
    wrong = np.concatenate([np.array(value, float), getattr(two, name)[1:]])
    measured, faults = level_measurements(boxes(2, **{name: wrong}), OPTICAL, np.zeros(3))
    assert len(measured) == 1
    assert faults.rejected == 1


@pytest.mark.parametrize(
    "covariance",
    [
        np.zeros((6, 6)),
        np.full((6, 6), np.nan),
        np.diag([-1.0, 1, 1, 1, 1, 1]),
        np.diag([np.inf, 1, 1, 1, 1, 1]),
        np.diag([1e7, 1, 1, 1, 1, 1]),
        np.diag([0, 0, 0, 1.0, 1, 1]),
    ],
)
def test_a_position_without_covariance_gets_one_that_grows_with_the_distance(covariance):
    measured, faults = level_measurements(boxes(covariance=covariance[None]), OPTICAL, np.zeros(3))
    distance = np.linalg.norm((2, 1, 20))
    expected = (0.05 * distance) ** 2 + 2 * 0.03**2
    assert np.diag(measured.covariance[0]) == pytest.approx([expected] * 3)
    assert faults.covariance == 1
    assert faults.rejected == 0


def test_a_rotation_without_covariance_gets_one():
    covariance = np.diag([1.0, 1, 1, 0, 0, 0])[None]
    measured, faults = level_measurements(boxes(covariance=covariance), OPTICAL, np.zeros(3))
    assert measured.yaw_variance[0] == pytest.approx(0.3**2 + 0.03**2)
    assert faults.covariance == 1


def test_a_singular_covariance_can_be_used():
    """A detector that knows the direction exactly, and the range only roughly."""
    ray = np.array([2.0, 1.0, 20.0])
    covariance = np.zeros((1, 6, 6))
    covariance[0, :3, :3] = np.outer(ray, ray) * 0.05**2
    covariance[0, 4, 4] = 0.01
    measured, faults = level_measurements(boxes(covariance=covariance), OPTICAL, np.zeros(3))
    assert np.linalg.eigvalsh(measured.covariance[0])[0] == pytest.approx(0.03**2)
    assert measured.yaw_variance[0] == pytest.approx(0.01 + 0.03**2, rel=1e-3)
    assert faults.covariance == 0


def test_no_detections():
    measured, faults = level_measurements(boxes(0), OPTICAL, np.zeros(3))
    assert len(measured) == 0
    assert faults.rejected == faults.covariance == 0


@pytest.mark.parametrize("distance", [8.0, 25.0, 60.0])
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_prior_of_a_detector_is_removed_from_its_distance(distance, share):
    """What is reported is the mean of image and prior, weighted by information."""
    image, prior = share**-2, DISTANCE_SPREAD**-2
    mean = (np.log(distance) * image + np.log(USUAL_DISTANCE) * prior) / (image + prior)
    reported = np.exp(mean)
    deviation = reported * (image + prior) ** -0.5
    measured = detections((reported + 1.0, 2.0), deviation=deviation, origin=(1.0, 2.0, 0.8))
    found = without_prior(measured)
    assert found.position[0] == pytest.approx((distance + 1.0, 2.0, 0.8))
    assert found.covariance[0, 0, 0] == pytest.approx(RANGE_VARIANCE * (share * distance) ** 2)
    # The prior says nothing about the direction.
    assert np.sqrt(found.covariance[0, 1, 1]) == pytest.approx(deviation)


def test_a_detection_that_says_less_than_the_prior_keeps_finite_values():
    found = without_prior(detections((50.0, 0.0), deviation=200.0))
    assert found.position[0, 0] == pytest.approx(100.0, rel=0.01)
    assert np.isfinite(found.covariance).all()
    assert len(without_prior(detections())) == 0
    at_sensor = without_prior(detections((0.0, 0.0), origin=(0.0, 0.0, 0.8)))
    assert at_sensor.position[0] == pytest.approx((0.0, 0.0, 0.8))
