import numpy as np
import pytest
from support.moving import detections

from km3d_ros.tracking.tracker import Tracker


def run(tracker: Tracker, places, *, start=0.0, rate=10.0, **kwargs) -> None:
    """One image for each entry of `places`, a list of x, y."""
    for number, entry in enumerate(places):
        tracker.step(detections(*entry, **kwargs), start + number / rate, "front")


def test_a_moving_car_keeps_its_identity_and_its_velocity_is_found():
    tracker = Tracker()
    run(tracker, [[(10 + 0.8 * k, 2.0)] for k in range(20)])
    tracks = tracker.objects()
    assert tracks.number.tolist() == [1]
    mean, covariance = tracks.state()
    assert mean[0, 3:5] == pytest.approx((8.0, 0.0), abs=0.5)
    assert mean[0, :2] == pytest.approx((25.2, 2.0), abs=0.3)
    assert tracks.hits.tolist() == [20]
    assert tracks.seen - tracks.born == pytest.approx([1.9])
    assert np.linalg.eigvalsh(covariance[0]).min() >= 0


def test_a_parked_car_stands_still_for_a_camera_that_moves():
    tracker, rng = Tracker(), np.random.default_rng(0)
    for k in range(20):
        ego = (0.7 * k, 0.0, 1.5)
        place = (30 + rng.normal(0, 0.3), 3 + rng.normal(0, 0.3))
        tracker.step(detections(place, origin=ego), k / 10)
    mean, covariance = tracker.objects().state()
    assert np.abs(mean[0, 3:5]).max() < 0.2
    assert tracker.objects().weights[0, 0] > 0.9
    assert covariance[0, 3, 3] < 0.25**2


def test_detections_from_one_view_repeat_their_error_and_those_from_other_views_do_not():
    """A car ahead at the speed of the camera, and a parked one that comes nearer."""
    deviations = {}
    for name, speed in (("ahead", 7.0), ("parked", 0.0)):
        tracker = Tracker()
        for k in range(30):
            ego = (0.7 * k, 0.0, 1.5)
            tracker.step(detections((30 + speed * k / 10, 3.0), origin=ego), k / 10)
        mean, covariance = tracker.objects().state()
        assert mean[0, 3] == pytest.approx(speed, abs=0.1)
        deviations[name] = np.sqrt(covariance[0, 0, 0])
    # One detection has 0.3 m.
    assert 0.25 < deviations["ahead"] < 0.5
    assert deviations["parked"] < 0.2


def test_two_objects_that_cross_keep_their_identities():
    tracker = Tracker()
    run(tracker, [[(10 + 0.5 * k, -3.0), (20 - 0.5 * k, 3.0)] for k in range(20)])
    tracks = tracker.objects()
    order = np.argsort(tracks.number)
    assert tracks.number[order].tolist() == [1, 2]
    assert tracks.state()[0][order, 3] == pytest.approx([5.0, -5.0], abs=0.7)


def test_an_object_that_is_hidden_for_half_a_second_keeps_its_identity():
    tracker = Tracker()
    places = [(10 + 0.8 * k, 2.0) for k in range(20)]
    run(tracker, [[p, (15.0, -2.0)] if not 10 <= k < 15 else [(15.0, -2.0)]
                  for k, p in enumerate(places)])  # fmt: skip
    tracks = tracker.objects()
    moving = np.abs(tracks.state()[0][:, 1] - 2.0) < 0.5
    assert tracks.number[moving].tolist() == [1]


def test_an_object_that_is_gone_is_deleted_and_its_number_is_not_used_again():
    tracker = Tracker()
    run(tracker, [[(10.0, 2.0), (15.0, -2.0)]] * 10)
    run(tracker, [[(15.0, -2.0)]] * 20, start=1.0)
    assert len(tracker.objects()) == 1
    run(tracker, [[(15.0, -2.0), (10.0, 2.0)]] * 5, start=3.0)
    assert sorted(tracker.objects().number.tolist())[-1] == 3


def test_an_unlikely_detection_is_no_object_before_it_is_detected_again():
    tracker = Tracker()
    run(tracker, [[(10.0, 2.0)]], score=0.2)
    assert len(tracker.objects()) == 0
    run(tracker, [[(10.0, 2.0)]] * 9, start=0.1, score=0.2)
    assert tracker.objects().number.tolist() == [1]


def test_one_object_seen_by_two_cameras_is_one_object():
    tracker = Tracker()
    for k in range(10):
        tracker.step(detections((12.0, 1.0), (20.0, 4.0)), k / 10, "left")
        tracker.step(
            detections((12.1, 1.1), (20.0, -6.0), origin=(0.0, -1.0, 1.5)), k / 10, "right"
        )
    assert sorted(tracker.objects().number.tolist()) == [1, 2, 3]


def test_a_camera_does_not_doubt_what_it_never_looks_at():
    tracker = Tracker()
    run(tracker, [[(12.0, 8.0), (12.0, 2.0)]] * 5)
    for k in range(5, 15):
        tracker.step(detections((12.0, -8.0), (12.0, -2.0)), k / 10, "right")
    assert {1, 2} <= set(tracker.objects().number.tolist())


def test_detections_of_up_to_300_ms_ago_are_used_where_the_object_was_then():
    tracker = Tracker()
    run(tracker, [[(10 + 0.8 * k, 2.0)] for k in range(20)])
    before = tracker.objects().state()[0][0]
    assert tracker.step(detections((10 + 0.8 * 17, 2.0)), 1.7, "left")
    after = tracker.objects()
    assert after.number.tolist() == [1]
    assert after.state()[0][0, :5] == pytest.approx(before[:5], abs=0.15)
    assert tracker.time == 1.9
    assert tracker.counts.out_of_order == 1


def test_older_detections_are_left_out_and_counted():
    tracker = Tracker()
    run(tracker, [[(10.0, 2.0)]] * 10)
    assert not tracker.step(detections((30.0, 2.0)), 0.5, "front")
    assert tracker.counts.late == 1
    assert len(tracker.objects(0.2)) == 1


def test_after_a_gap_tracking_starts_again_with_new_numbers():
    tracker = Tracker()
    run(tracker, [[(10.0, 2.0)]] * 5)
    run(tracker, [[(10.0, 2.0)]] * 5, start=5.0)
    assert tracker.objects().number.tolist() == [2]
    assert tracker.counts.restarts == 1


def test_two_detections_at_one_place_are_one_object():
    tracker = Tracker()
    run(tracker, [[(10.0, 2.0), (10.1, 2.0)]] * 5)
    assert len(tracker.objects(0.2)) == 1
    assert tracker.counts.duplicates == 5


def test_front_and_rear_are_what_most_detections_say():
    tracker = Tracker()
    for k in range(10):
        yaw = np.pi if k % 3 == 0 else 0.0
        tracker.step(detections((10.0, 2.0), yaw=yaw), k / 10)
    tracks = tracker.objects()
    assert np.cos(tracks.yaw[0]) == pytest.approx(1.0, abs=0.01)
    assert tracks.forward[0] > 0


def test_a_moving_car_has_its_front_ahead():
    tracker = Tracker()
    run(tracker, [[(10 + 0.8 * k, 2.0)] for k in range(20)], yaw=np.pi)
    assert np.cos(tracker.objects().yaw[0]) == pytest.approx(1.0, abs=0.01)


def test_the_class_is_what_most_detections_say():
    tracker = Tracker()
    for k in range(10):
        name = "Van" if k % 3 == 0 else "Car"
        tracker.step(detections((10.0, 2.0), names=(name,)), k / 10)
    tracks = tracker.objects()
    assert tracks.number.tolist() == [1]
    probabilities = dict(zip(tracker.class_names, tracks.classes[0], strict=True))
    assert probabilities["Car"] > 0.9
    assert sum(probabilities.values()) == pytest.approx(1.0)


def test_classes_that_no_track_has_are_forgotten():
    """A detector that writes a number of its own into every class name."""
    tracker = Tracker()
    for k in range(1000):
        names = ("Car", f"object {k}")
        tracker.step(detections((20.0, 0.0), (30.0, 5.0 * (k % 2)), names=names), k / 10)
        assert len(tracker.class_names) < 150
    tracks = tracker.objects()
    assert tracks.classes.shape == (len(tracks), len(tracker.class_names))
    np.testing.assert_allclose(tracks.classes.sum(1), 1)
    assert tracker.class_names[tracks[tracks.number == 1].best_classes()[0]] == "Car"


def test_no_detections_and_no_tracks():
    tracker = Tracker()
    assert tracker.time is None
    assert tracker.step(detections(), 1.0)
    assert tracker.step(detections(), 1.1)
    assert len(tracker.objects()) == 0


def test_a_thousand_detections():
    tracker = Tracker()
    places = [(10.0 + 8 * (k % 40), -100.0 + 8 * (k // 40)) for k in range(1000)]
    run(tracker, [places] * 3)
    assert len(tracker.objects()) == 1000
    assert tracker.objects().number.max() == 1000


def test_the_same_detections_give_the_same_tracks():
    first, second = Tracker(), Tracker()
    for tracker in (first, second):
        run(tracker, [[(10 + 0.3 * k, 2.0), (20.0, -k / 10)] for k in range(10)])
    assert np.array_equal(first.objects().means, second.objects().means)
    assert np.array_equal(first.objects().number, second.objects().number)
