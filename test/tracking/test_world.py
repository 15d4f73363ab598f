from contextlib import suppress

import numpy as np
import pytest

from km3d_ros.geometry.pose import Pose
from km3d_ros.tracking.measurements import Boxes
from km3d_ros.tracking.poses import parse_mount
from km3d_ros.tracking.world import DroppedDetections, LeftOut, World

MOUNT = "front 1.0 0 1.6 -1.5707963 0 -1.5707963"
"""An optical frame that looks ahead, one metre before base_link."""


def car(ahead: float, right: float = 0.0) -> Boxes:
    """A car in the optical frame of a camera 1.6 m above the road; it faces away."""
    covariance = np.diag((0.02, 0.02, 0.1, np.pi**2, 0.02, np.pi**2))[None]
    return Boxes(
        ["Car"],
        np.array([0.7]),
        np.array([(right, 0.85, ahead)]),
        np.array([(0.5, -0.5, 0.5, 0.5)]),
        np.array([(4.2, 1.8, 1.5)]),
        covariance,
    )


def vehicle(x: float, yaw: float = 0.0) -> Pose:
    return Pose.of((0, 0, np.sin(yaw / 2), np.cos(yaw / 2)), (x, 0, 0))


def with_mount(base: str = "base_link") -> World:
    world = World(base)
    frame, pose = parse_mount(MOUNT)
    world.transforms = world.transforms.with_pose("base_link", frame, pose)
    return world


def test_without_odometry_the_frame_is_that_of_the_detections():
    world = World()
    for k in range(5):
        world.take("front", "front", k / 10, car(20.0, 3.0))
    assert world.frame == "front"
    assert not world.moves
    mean, _ = world.tracker.objects().state()
    assert mean[0, :3] @ world.level == pytest.approx((3.0, 0.85, 20.0), abs=0.05)
    assert world.tracker.objects().yaw[0] == pytest.approx(0.0, abs=1e-6)


def test_detections_with_z_up_stay_as_they_are():
    world, boxes = World(), car(20.0)
    boxes.quaternion[:] = (0, 0, 0, 1)
    world.take("lidar", "lidar", 0.0, boxes)
    assert world.level.tolist() == np.eye(3).tolist()


def test_with_a_mount_objects_are_tracked_in_the_frame_of_the_vehicle():
    world = with_mount()
    world.take("front", "front", 0.0, car(20.0, 3.0))
    assert world.frame == "base_link"
    mean, _ = world.tracker.objects().state()
    assert mean[0, :3] == pytest.approx((21.0, -3.0, 0.75), abs=0.01)


def test_with_odometry_a_parked_car_stands_still_while_the_vehicle_drives_and_turns():
    world = with_mount()
    for k in range(20):
        time, x, yaw = k / 10, 0.8 * k, 0.005 * k
        world.take_odometry("odom", "base_link", time, vehicle(x, yaw))
        c, s = np.cos(yaw), np.sin(yaw)
        offset = np.array([(c, s), (-s, c)]) @ (40.0 - x, 2.0)
        world.take("front", "front", time, car(offset[0] - 1.0, -offset[1]))
    mean, _ = world.tracker.objects().state()
    assert world.frame == "odom"
    assert world.moves
    assert mean[0, :2] == pytest.approx((40.0, 2.0), abs=0.2)
    assert np.abs(mean[0, 3:5]).max() < 0.2
    assert world.tracker.objects().yaw[0] == pytest.approx(0.095 * 0.7, abs=0.05)


def too_far(share: float) -> Boxes:
    """A car that stands on the road 8 m ahead, placed too far away along its ray."""
    boxes = car(8.0)
    boxes.position[:] *= 1 + share
    along = 0.06 * boxes.position[0]
    boxes.covariance[0, :3, :3] = 0.001 * np.eye(3) + np.outer(along, along)
    return boxes


@pytest.mark.parametrize(
    ("mount", "ground_frame", "source"),
    [
        # The frame of the vehicle is on the ground, 1.6 m below the camera.
        (MOUNT, "base_link", "base_link"),
        # It is 0.3 m above it, at the rear axle.
        ("front 1.0 0 1.3 -1.5707963 0 -1.5707963", "base_footprint", "base_footprint"),
        (MOUNT, "/base_link", "base_link"),
        # The ground is not described.
        (MOUNT, "base_footprint", "learned"),
        (MOUNT, "", "learned"),
        # A frame that looks ahead is no ground.
        (MOUNT, "front", "learned"),
    ],
)
def test_a_frame_on_the_ground_corrects_the_first_distance(mount, ground_frame, source):
    world = World("base_link", ground_frame)
    frame, pose = parse_mount(mount)
    world.transforms = world.transforms.with_pose("base_link", frame, pose)
    if source == "base_footprint":
        below = Pose(np.eye(3), np.array((0, 0, -0.3)))
        world.transforms = world.transforms.with_pose("base_link", "base_footprint", below)
    world.take("front", "front", 0.0, too_far(0.08))
    mean, _ = world.tracker.objects().state()
    error = (mean[0, 0] - 1.0) / 8 - 1
    assert world.ground_sources == {"front": source}
    if source == "learned":
        assert error == pytest.approx(0.08, abs=0.015)
    else:
        assert 0 < error < 0.045


def test_a_ground_that_is_described_later_and_a_restart():
    world = World("base_link")
    frame, pose = parse_mount(MOUNT)
    world.transforms = world.transforms.with_pose("base_link", frame, pose)
    world.take("front", "front", 0.0, car(20.0))
    assert world.ground_sources == {"front": "learned"}
    below = Pose(np.eye(3), np.zeros(3))
    world.transforms = world.transforms.with_pose("base_link", "base_footprint", below)
    for time in (0.1, 0.2):
        world.take("front", "front", time, car(20.0))
        assert world.ground_sources == {"front": "base_footprint"}
        world.restart("test")


def test_a_ground_frame_that_is_wrong_is_named():
    """It is 1 m too low."""
    world = World("base_link", "base_footprint")
    frame, pose = parse_mount(MOUNT)
    world.transforms = world.transforms.with_pose("base_link", frame, pose)
    below = Pose(np.eye(3), np.array((0, 0, -1.0)))
    world.transforms = world.transforms.with_pose("base_link", "base_footprint", below)
    for k in range(20):
        world.take("front", "front", k / 10, car(10.0))
    reason = "learned (base_footprint contradicts the detections)"
    assert world.ground_sources == {"front": reason}


@pytest.mark.parametrize(
    ("roll", "pitch", "source"),
    [
        (0.45, 0.0, "ground"),
        (0.3, -0.3, "ground"),
        (0.4, 0.4, "learned"),
        (0.0, 0.47, "learned"),
        (np.pi, 0.0, "learned"),
    ],
)
def test_a_ground_is_not_steeper_than_one_in_two(roll, pitch, source):
    world = World("base_link", "ground")
    for text in (MOUNT, f"ground 0 0 0 {roll} {pitch} 0.0"):
        frame, pose = parse_mount(text)
        world.transforms = world.transforms.with_pose("base_link", frame, pose)
    world.take("front", "front", 0.0, car(20.0))
    assert world.ground_sources == {"front": source}


def test_on_a_hill_the_ground_has_the_slope_of_the_vehicle():
    """The vehicle climbs by 10 %, and so does the road below the car ahead."""
    world = World(ground_frame="base_link")
    frame, pose = parse_mount(MOUNT)
    world.transforms = world.transforms.with_pose("base_link", frame, pose)
    pitch = -np.arctan(0.1)
    uphill = Pose.of((0, np.sin(pitch / 2), 0, np.cos(pitch / 2)), (0, 0, 0))
    for k in range(2):
        world.take_odometry("odom", "base_link", k / 10, uphill)
    world.take("front", "front", 0.0, too_far(0.08))
    mean, _ = world.tracker.objects().state()
    ahead, left, _ = uphill.rotation.T @ mean[0, :3]
    assert 0 < (ahead - 1.0) / 8 - 1 < 0.045
    assert left == pytest.approx(0.0, abs=0.01)


def dropped(world: World, *arguments) -> LeftOut:
    with pytest.raises(DroppedDetections) as caught:
        world.take(*arguments)
    return caught.value.cause


def test_a_frame_that_nobody_described_is_dropped():
    world = with_mount()
    assert dropped(world, "nose", "nose", 0.0, car(20.0)) == LeftOut.UNKNOWN_FRAME
    world.take("front", "front", 0.0, car(20.0))


def test_without_mounts_a_second_sensor_with_another_frame_is_dropped():
    world = World()
    world.take("front", "front", 0.0, car(20.0))
    assert dropped(world, "left", "left", 0.0, car(20.0)) == LeftOut.UNKNOWN_FRAME


def test_odometry_that_stops():
    world = with_mount()
    for k in range(5):
        world.take_odometry("odom", "base_link", k / 10, vehicle(0.0))
    world.take("front", "front", 0.55, car(20.0))
    assert dropped(world, "front", "front", 0.7, car(20.0)) == LeftOut.NO_ODOMETRY


def test_odometry_that_jumps_restarts_tracking():
    world = with_mount()
    for k in range(5):
        world.take_odometry("odom", "base_link", k / 10, vehicle(0.0))
        world.take("front", "front", k / 10, car(20.0))
    assert world.tracker.objects().number.tolist() == [1]
    world.take_odometry("odom", "base_link", 0.5, vehicle(100.0))
    assert len(world.tracker.objects()) == 0
    world.take("front", "front", 0.5, car(20.0))
    assert world.tracker.objects().number.tolist() == [2]
    assert world.restarts["odometry_jump"] == 1


def test_odometry_that_starts_later_restarts_tracking_in_its_frame():
    world = with_mount()
    world.take("front", "front", 0.0, car(20.0))
    world.take_odometry("odom", "base_link", 0.1, vehicle(5.0))
    world.take("front", "front", 0.1, car(20.0))
    assert world.frame == "odom"
    assert world.tracker.objects().number.tolist() == [2]


def test_late_detections_are_dropped_and_time_that_went_back_restarts():
    world = with_mount()
    for k in range(20):
        world.take("front", "front", 10 + k / 10, car(20.0))
    assert dropped(world, "front", "front", 11.0, car(20.0)) == LeftOut.LATE
    world.take("front", "front", 3.0, car(20.0))
    assert world.restarts["time_went_back"] == 1
    assert world.tracker.time == 3.0


def test_a_sensor_whose_clock_is_always_late_does_not_disturb_the_others():
    world = with_mount()
    for k in range(5):
        world.take("front", "front", 10 + k / 10, car(20.0))
        assert dropped(world, "slow", "front", 1 + k / 10, car(30.0)) == LeftOut.LATE
    assert world.tracker.objects().number.tolist() == [1]
    assert not world.restarts


def test_faults_of_detections_are_counted():
    world = with_mount()
    boxes = car(20.0)
    boxes.covariance[:] = np.nan
    world.take("front", "front", 0.0, boxes)
    boxes.position[:] = np.nan
    world.take("front", "front", 0.1, boxes)
    assert world.faults == {"rejected": 1, "without_covariance": 1}


def garbage(rng: np.random.Generator) -> Boxes:
    """Boxes with all that a message can have, some of it plausible."""
    count = int(rng.integers(0, 30))
    position = np.abs(rng.normal(0, 30, (count, 3)))
    size = np.abs(rng.normal(2, 1, (count, 3)))
    factors = rng.normal(0, rng.choice([1e-8, 0.1, 1, 1e4]), (count, 6, 6))
    covariance = factors @ factors.transpose(0, 2, 1)
    for values, wrong in (
        (position, (np.nan, np.inf, 0, 1e7, 9e3, 1e-12)),
        (size, (0, 1e-9, 1e5, np.nan)),
        (covariance, (0, np.nan, 1e30, -1)),
    ):
        if count and rng.random() < 0.3:
            values[rng.integers(count)] = rng.choice(wrong)
    if count and rng.random() < 0.2:
        position[:] = position[0]
    quaternion = rng.choice([np.array((0.5, -0.5, 0.5, 0.5)), rng.normal(0, 1, 4)])
    names = [str(name) for name in rng.choice(["Car", "Pedestrian", "x", ""], count)]
    scores = rng.uniform(0, 1, count)
    return Boxes(names, scores, position, np.tile(quaternion, (count, 1)), size, covariance)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(12))
def test_whatever_comes_the_tracks_stay_finite(seed):
    rng, world, time = np.random.default_rng(seed), with_mount(), 0.0
    for _ in range(60):
        time += rng.choice([0.1, 0.0, -0.2, 1e-9, 3.0, -5.0], p=[0.7, 0.1, 0.1, 0.06, 0.02, 0.02])
        if rng.random() < 0.6:
            pose = vehicle(time + rng.normal(0, 0.3), rng.normal(0, 0.1))
            world.take_odometry("odom", "base_link", time + rng.choice([0, 0.05, -0.1]), pose)
        sensor = str(rng.integers(2))
        with suppress(DroppedDetections):
            world.take(sensor, "front", time, garbage(rng))
        tracks = world.tracker.objects(0.01)
        mean, covariance = tracks.state()
        assert (np.abs(mean) < 1e6).all()
        assert (np.linalg.eigvalsh(covariance)[:, 0] > -1e-3).all()
        assert (np.abs(tracks.yaw) <= np.pi).all()
        assert (tracks.size > 0).all()
