"""`km3d bag --tracks`: two cameras with overlapping views, and what is wrong with recordings."""

import json
from dataclasses import replace

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from support.drives import PERIOD, drive, header, record
from vision_msgs.msg import Detection3DArray

from km3d_ros import town
from km3d_ros.bag import read_bag
from km3d_ros.cli import main
from km3d_ros.demo.drive import camera_info
from km3d_ros.node.messages import image_message
from km3d_ros.tracking.poses import parse_mount
from km3d_ros.tracking.reading import read_boxes, read_pose

FRAMES = 8
TURN = 0.2
MOUNTS = {
    "left": f"left 0 0 1.6 {-np.pi / 2} 0 {-np.pi / 2 + TURN}",
    "right": f"right 0 0 1.6 {-np.pi / 2} 0 {-np.pi / 2 - TURN}",
}
NEAR = 2.0
"""Metres within which two detections are of one car: the lanes are 2.4 m apart."""
FAR = 35.0
"""Metres from which on detection and track of a car may be more than `NEAR` apart."""


def odometry(i, x, y=0.0, yaw=0.0, frame="odom", child="base_link"):
    message = Odometry(header=header(i, frame), child_frame_id=child)
    place, turn = message.pose.pose.position, message.pose.pose.orientation
    place.x, place.y = float(x), float(y)
    turn.z, turn.w = float(np.sin(yaw / 2)), float(np.cos(yaw / 2))
    return message


@pytest.fixture(scope="module")
def two_cameras(tmp_path_factory):
    """A drive through Town, seen by two cameras that look a little left and right."""
    path = tmp_path_factory.mktemp("town") / "two.mcap"
    entries, first = [], None
    for i, frame in enumerate(town.drive(7, FRAMES)):
        view = frame.scene.view
        first = first or view
        bend = view.heading - first.heading
        moved = odometry(i, view.z, first.x - view.x, -bend)
        entries.append(("/odom", moved, i * PERIOD))
        for name, turn in (("left", -TURN), ("right", TURN)):
            looking = replace(view, heading=bend + turn, slope=0.0, bank=0.0)
            seen = town.render(replace(frame.scene, view=looking), focal=0.75)
            info = camera_info(header(i, name), seen.projection, 1280, 384)
            entries.append(
                (f"/{name}/image_rect", image_message(seen.image, header(i, name)), i * PERIOD)
            )
            entries.append((f"/{name}/camera_info", info, i * PERIOD))
    return record(path, entries)


def run(*arguments) -> int:
    return main(["bag", *map(str, arguments)])


@pytest.fixture(scope="module")
def tracked(two_cameras, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "out.mcap"
    mounts = [word for mount in MOUNTS.values() for word in ("--mount", mount)]
    assert run(two_cameras, out, "--tracks", "--device", "cpu", *mounts) == 0
    return out


def newest(path, topic):
    return list(read_bag(path, [topic]))[-1].message


def places(path, name):
    """Cars (N, 3) in the odometry's frame that a camera detects in its last image."""
    message = newest(path, f"/km3d/{name}/detections")
    boxes = read_boxes(message)
    pose = read_pose(newest(path, "/odom").pose.pose) @ parse_mount(MOUNTS[name])[1]
    sure = np.array([n == "Car" for n in boxes.class_names]) & (boxes.score > 0.3)
    sure &= np.linalg.norm(boxes.position, axis=1) < FAR
    return boxes.position[sure] @ pose.rotation.T + pose.translation


def test_one_object_seen_by_two_cameras_has_one_id(tracked):
    left, right = places(tracked, "left"), places(tracked, "right")
    apart = np.linalg.norm(left[:, None, :2] - right[:, :2], axis=-1)
    both = [(left[i] + right[j]) / 2 for i, j in zip(*np.nonzero(apart < NEAR), strict=True)]
    assert both
    tracks = newest(tracked, "/km3d_tracker/tracks")
    assert tracks.header.frame_id == "odom"
    boxes = read_boxes(tracks)
    for place in both:
        near = np.linalg.norm(boxes.position[:, :2] - place[:2], axis=1) < NEAR
        assert near.sum() == 1
    assert len({d.id for d in tracks.detections}) == len(tracks.detections)


def test_a_frame_on_the_ground_is_named(two_cameras, tmp_path, capsys):
    mounts = [word for mount in MOUNTS.values() for word in ("--mount", mount)]
    arguments = ("--device", "cpu", *mounts, "--ground-frame", "base_link")
    assert run(two_cameras, tmp_path / "out.mcap", "--tracks", *arguments) == 0
    assert "; frame odom; ground base_link\n" in capsys.readouterr().out


def test_there_are_tracks_after_every_image_and_ids_stay(tracked):
    arrays = [entry.message for entry in read_bag(tracked, ["/km3d_tracker/tracks"])]
    assert len(arrays) == 2 * FRAMES
    first, last = ({d.id for d in array.detections} for array in (arrays[3], arrays[-1]))
    assert len(first & last) >= 3
    objects = newest(tracked, "/km3d_tracker/objects").objects
    assert [str(o.id) for o in objects] == [d.id for d in arrays[-1].detections]


def test_the_same_recording_gives_the_same_bytes(two_cameras, tracked, tmp_path):
    mounts = [word for mount in MOUNTS.values() for word in ("--mount", mount)]
    run(two_cameras, tmp_path / "out.mcap", "--tracks", "--device", "cpu", *mounts)
    assert (tmp_path / "out.mcap").read_bytes() == tracked.read_bytes()


@pytest.fixture
def options(weights):
    network = ["--weights", str(weights), "--device", "cpu", "--backend", "torch"]
    return [*network, "--score-threshold", "0"]


def test_without_odometry_it_says_so(tmp_path, options, capsys):
    bag = drive(tmp_path / "in.mcap", 2)
    assert run(bag, tmp_path / "out.mcap", "--tracks", *options) == 0
    output = capsys.readouterr().out
    assert "/km3d_tracker/tracks: " in output
    assert "objects in 2 images; no odometry; frame camera" in output
    assert newest(tmp_path / "out.mcap", "/km3d_tracker/tracks").header.frame_id == "camera"


def test_without_tracks_there_are_none(tmp_path, options, capsys):
    bag = drive(tmp_path / "in.mcap", 2)
    assert run(bag, tmp_path / "out.mcap", "--json", *options) == 0
    assert json.loads(capsys.readouterr().out)["tracking"] is None
    assert not list(read_bag(tmp_path / "out.mcap", ["/km3d_tracker/tracks"]))


def test_a_camera_that_is_not_mounted_is_counted(tmp_path, options, capsys):
    bag = drive(tmp_path / "plain.mcap", 2)
    entries = [(t, m, time - 1_700_000_000_000_000_000) for t, m, time in read_bag(bag)]
    entries += [("/odom", odometry(i, 0.0), i * PERIOD) for i in range(2)]
    bag = record(tmp_path / "in.mcap", sorted(entries, key=lambda entry: entry[2]))
    assert run(bag, tmp_path / "out.mcap", "--tracks", "--json", *options) == 0
    tracking = json.loads(capsys.readouterr().out)["tracking"]
    assert tracking["unusable"] == {"unknown_frame": 2}
    assert tracking["odometry"] == "/odom"


@pytest.mark.parametrize(
    ("topics", "arguments", "message"),
    [
        (["/a", "/b"], ["--tracks"], "has odometry on /a, /b: choose one with --odometry"),
        (["/a"], ["--tracks", "--odometry", "/c"], "no odometry on /c; odometry: /a"),
        (["/a"], ["--tracks", "--mount", "front 1"], "expected: frame x y z roll pitch yaw"),
        ([], ["--tracks", "--mount", "camera 0 0 0 0 0 0"], "--mount needs odometry"),
        (["/a"], ["--odometry", "/a"], "--odometry, --mount and --ground-frame need --tracks"),
        (["/a"], ["--ground-frame", "a"], "--odometry, --mount and --ground-frame need --tracks"),
        (["/km3d_tracker/tracks"], ["--tracks"], "give another --prefix"),
    ],
)
def test_requests_that_make_no_sense(tmp_path, options, capsys, topics, arguments, message):
    bag = drive(tmp_path / "plain.mcap", 1)
    entries = [(t, m, time - 1_700_000_000_000_000_000) for t, m, time in read_bag(bag)]
    for topic in topics:
        other = Detection3DArray() if "tracks" in topic else odometry(0, 0.0)
        entries.append((topic, other, 0))
    bag = record(tmp_path / "in.mcap", entries)
    assert run(bag, tmp_path / "out.mcap", *arguments, *options) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.mcap").exists()
