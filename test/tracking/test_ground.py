from dataclasses import replace

import numpy as np
import pytest
from support.moving import detections

from km3d_ros.tracking.ground import Ground
from km3d_ros.tracking.measurements import Measurements

PLACES = ((15.0, 0.0), (20.0, 5.0), (25.0, -5.0), (35.0, 2.0))


def seen(
    share: float = 0.0,
    slope: float = 0.0,
    rows: tuple[int, ...] = (),
    bank: float = 0.0,
    places: tuple[tuple[float, float], ...] = PLACES,
) -> Measurements:
    """Cars of 1.5 m on a road 1.5 m below the camera; those of `rows` are measured too far away
    along their rays, by a share of the distance."""
    cars = detections(*places)
    cars.position[:, 2] = 0.75 + cars.position[:, :2] @ (slope, bank)
    offset = cars.position - cars.origin
    ray = offset / np.linalg.norm(offset, axis=1)[:, None]
    along = (0.06 * np.linalg.norm(offset, axis=1)) ** 2
    covariance = 0.03**2 * np.eye(3) + along[:, None, None] * ray[:, :, None] * ray[:, None, :]
    cars = replace(cars, covariance=covariance)
    cars.position[list(rows)] += share * offset[list(rows)]
    return cars


def learned(**options) -> Ground:
    ground = Ground()
    for _ in range(20):
        ground.predict(0.1, None)
        ground.learn(seen(**options), 0.1)
    return ground


@pytest.mark.parametrize("slope", [0.0, 0.02])
def test_a_car_that_floats_or_sinks_is_moved_along_its_ray(slope):
    ground, truth = learned(slope=slope), seen(slope=slope)
    corrected = ground.correct(seen(0.1, slope, rows=(0,)))
    before, after = (m.position[0, 0] - 15.0 for m in (seen(0.1, slope, (0,)), corrected))
    assert before == pytest.approx(1.5)
    assert abs(after) < 0.75 * before
    np.testing.assert_allclose(corrected.position[1:], truth.position[1:], atol=0.1)
    # It also knows the distance better than before.
    assert corrected.covariance[0, 0, 0] < 0.8 * truth.covariance[0, 0, 0]
    assert np.linalg.eigvalsh(corrected.covariance).min() > 0


@pytest.mark.parametrize(("radius", "remains"), [(800.0, 1.0), (-800.0, 0.5)])
def test_on_a_crest_and_in_a_dip_cars_stay_on_the_road(radius, remains):
    """At 40 m, a road with a radius of 800 m is 1 m off its tangent.

    remains: part of an error of the distance that is left. On the crest, the ray is parallel to
    the road and says nothing about the distance.
    """
    cars = detections((12.0, 0.0), (20.0, 5.0), (30.0, -5.0), (40.0, 3.0), (50.0, -2.0))
    cars.position[:, 2] = 0.75 - (cars.position[:, :2] ** 2).sum(1) / (2 * radius)
    offset = cars.position - cars.origin
    along = 0.06 * offset
    covariance = 0.03**2 * np.eye(3) + along[:, :, None] * along[:, None, :]
    cars = replace(cars, covariance=covariance)
    ground = Ground()
    for _ in range(30):
        ground.predict(0.1, None)
        ground.learn(cars, 0.1)
    shifted = replace(cars, position=cars.position.copy())
    shifted.position[3] += 0.1 * offset[3]
    distance = np.linalg.norm(offset, axis=1)
    found = np.linalg.norm(ground.correct(shifted).position - cars.origin, axis=1)
    error = found / distance - 1
    assert 0 <= error[3] < 0.1 * remains
    assert np.abs(np.delete(error, 3)).max() < 0.025


def test_before_the_ground_is_known_nothing_is_moved():
    cars = seen()
    np.testing.assert_allclose(Ground().correct(cars).position, cars.position, atol=0.01)


def test_a_known_plane_corrects_the_first_detections():
    """The road descends by 2 % ahead and 1 % to the left, and the mount says so."""
    road = {"slope": -0.02, "bank": -0.01, "places": ((8.0, 3.0), (12.0, -3.0))}
    ground = Ground()
    ground.predict(0.1, np.array((-1.5, -0.02, -0.01)))
    truth, wrong = seen(**road), seen(0.1, rows=(0, 1), **road)
    np.testing.assert_allclose(ground.correct(truth).position, truth.position, atol=1e-9)
    corrected = ground.correct(wrong)
    before, after = (m.position[:, 0] - truth.position[:, 0] for m in (wrong, corrected))
    assert before == pytest.approx((0.8, 1.2))
    assert (after > 0).all()
    assert (after < (0.7 * 0.8, 0.8 * 1.2)).all()
    assert corrected.covariance[0, 0, 0] < 0.7 * wrong.covariance[0, 0, 0]


LEVEL = np.array((-1.5, 0.0, 0.0))


def test_a_plane_follows_the_vehicle_onto_a_hill():
    ground, hill = Ground(), seen(slope=0.03)
    ground.predict(0.1, LEVEL)
    for _ in range(30):
        ground.predict(0.1, LEVEL + (0, 0.03, 0))
    corrected = ground.correct(hill)
    np.testing.assert_allclose(corrected.position, hill.position, atol=0.15)
    # A car off the ground would stay as it is.
    assert corrected.covariance[0, 0, 0] < 0.9 * hill.covariance[0, 0, 0]


def test_a_vehicle_that_pitches_on_its_springs_does_not_tilt_the_road():
    """By 0.5 degrees, 1.2 times in a second."""
    ground, rng = Ground(), np.random.default_rng(0)
    errors = []
    for k in range(200):
        pitch = 0.009 * np.sin(2 * np.pi * 1.2 * k / 10)
        ground.predict(0.1, LEVEL + (0, pitch, 0))
        cars, truth = seen(), seen()
        offset = truth.position - truth.origin
        cars.position[:] += offset * rng.normal(0, 0.06, (len(offset), 1))
        corrected = ground.correct(cars)
        errors.append([np.abs(m.position - truth.position)[:, 0] for m in (cars, corrected)])
        ground.learn(cars, 0.1)
    before, after = np.median(np.array(errors)[50:], axis=(0, 2))
    assert after < 0.85 * before


@pytest.mark.parametrize("plane", [(-2.5, 0, 0), (-1.5, 0.1, 0), (-1.5, 0.3, 0), (3.0, -0.4, 0.2)])
def test_a_mount_that_is_wrong_is_given_up(plane):
    ground = Ground()
    for _ in range(50):
        ground.predict(0.1, np.array(plane))
        ground.learn(seen(), 0.1)
    assert ground.contradicts_mount
    corrected = ground.correct(seen())
    np.testing.assert_allclose(corrected.position, seen().position, atol=0.1)
    assert corrected.covariance[0, 0, 0] < 0.9 * seen().covariance[0, 0, 0]


def test_a_mount_stays_given_up_when_the_learned_ground_is_given_up():
    ground, lower, given_up = Ground(), seen(), []
    lower.position[:, 2] -= 2.0
    for cars in [seen()] * 20 + [lower] * 50:
        ground.predict(0.1, np.array((3.0, 0, 0)))
        ground.learn(cars, 0.1)
        given_up.append(ground.contradicts_mount)
    assert given_up == sorted(given_up)
    assert given_up[-1]
    np.testing.assert_allclose(ground.correct(lower).position, lower.position, atol=0.1)


@pytest.mark.parametrize("plane", [None, LEVEL])
def test_some_images_with_an_object_in_the_air_do_not_discard_the_ground(plane):
    ground = Ground()
    for _ in range(20):
        ground.predict(0.1, plane)
        ground.learn(seen(), 0.1)
    before = ground.correct(seen(0.1, rows=(0,)))
    above = seen()[np.array([0])]
    above.position[0, 2] += 3.0
    for _ in range(4):
        ground.predict(0.1, plane)
        ground.learn(above, 0.1)
    after = ground.correct(seen(0.1, rows=(0,)))
    np.testing.assert_allclose(after.position, before.position, atol=0.05)
    assert not ground.contradicts_mount


def test_an_object_off_the_ground_stays_where_it_is():
    cars = seen()
    cars.position[0, 2] += 5.0
    np.testing.assert_array_equal(learned().correct(cars).position[0], cars.position[0])


def test_one_object_off_the_ground_does_not_move_the_ground():
    ground = learned()
    cars = seen()
    cars.position[0, 2] += 5.0
    for _ in range(20):
        ground.predict(0.1, None)
        ground.learn(cars, 0.1)
    np.testing.assert_allclose(ground.correct(seen()).position, seen().position, atol=0.05)


def test_another_ground_is_learned_again():
    ground = learned()
    lower = seen()
    lower.position[:, 2] -= 2.0
    for _ in range(50):
        ground.predict(0.1, None)
        ground.learn(lower, 0.1)
    corrected = ground.correct(lower)
    np.testing.assert_allclose(corrected.position, lower.position, atol=0.1)
    assert corrected.covariance[0, 0, 0] < 0.8 * lower.covariance[0, 0, 0]


def test_no_detections():
    ground, nothing = learned(), detections()
    assert len(ground.correct(nothing)) == 0
    ground.learn(nothing, 0.1)
    np.testing.assert_allclose(ground.correct(seen()).position, seen().position, atol=0.05)
