import json
import sqlite3
from math import cos, sin

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, TransformStamped
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from support.cameras import ros_calibration
from support.drives import (
    PERIOD,
    START,
    camera_info,
    drive,
    image,
    pixels,
    record,
)
from support.full_disk import full_disk
from support.ros1_bags import record_ros1
from tf2_msgs.msg import TFMessage

from km3d_ros.bag import read_bag
from km3d_ros.cli import main
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector

FOUND = 4
"""Detections that are wanted of every frame."""
STORAGES = [("in.mcap", "mcap", "out.mcap"), ("in", "mcap", "out"), ("in", "sqlite3", "out")]


@pytest.fixture
def options(weights):
    limits = ["--score-threshold", "0", "--max-detections", str(FOUND)]
    return ["--weights", str(weights), "--device", "cpu", "--backend", "torch", *limits]


def run(*arguments):
    return main(["bag", *map(str, arguments)])


def raw(path):
    """Topic, type, recorded time and bytes of every message, by an independent reader."""
    with AnyReader([path]) as reader:
        return [(c.topic, c.msgtype, time, bytes(data)) for c, time, data in reader.messages()]


def results(path):
    """The bytes of the results."""
    return [entry for entry in raw(path) if entry[0].startswith("/km3d")]


@pytest.mark.parametrize(("source", "storage", "out"), STORAGES)
def test_detections_are_those_of_the_detector_beside_the_original_messages(
    tmp_path, options, weights, source, storage, out, capsys
):
    bag = drive(tmp_path / source, 3, storage=storage)
    assert run(bag, tmp_path / out, *options) == 0
    assert "/front/image_raw -> /km3d/detections: 3 of 3 frames" in capsys.readouterr().out
    assert [entry for entry in raw(tmp_path / out) if "/km3d" not in entry[0]] == raw(bag)

    detector = Detector.from_checkpoint(weights, "cpu", 0, FOUND, backend="torch")
    camera = CameraModel.from_camera_info(camera_info(0), rectified=False)
    messages = list(read_bag(tmp_path / out, ["/km3d/detections", "/km3d/objects"]))
    assert len(messages) == 6
    for i in range(3):
        (_, found, time), (_, objects, _) = messages[2 * i : 2 * i + 2]
        expected = detector(pixels(i), camera)
        assert time == START + i * PERIOD + 1
        assert found.header == objects.header == image(i).header
        centers = [
            [getattr(d.bbox.center.position, axis) for axis in "xyz"] for d in found.detections
        ]
        np.testing.assert_allclose(centers, expected.center, rtol=1e-6)
        scores = [item.score for item in objects.objects]
        np.testing.assert_allclose(scores, expected.score, rtol=1e-6)


def test_several_cameras_have_results_of_their_own(tmp_path, options, capsys):
    bag = drive(tmp_path / "in.mcap", 2, ("front", "rig/rear"))
    assert run(bag, tmp_path / "out.mcap", *options, "--json") == 0
    cameras = json.loads(capsys.readouterr().out)["cameras"]
    assert [camera["detections"] for camera in cameras] == [
        "/km3d/front/detections",
        "/km3d/rear/detections",
    ]
    for i, camera in enumerate(("front", "rear")):
        alone = tmp_path / f"{camera}.mcap"
        topic = cameras[i]["images"]
        assert run(bag, alone, *options, "--image", topic, "--prefix", "/km3d/" + camera) == 0
        own = [entry for entry in results(tmp_path / "out.mcap") if camera in entry[0]]
        assert len(own) == 4
        assert results(alone) == own


def test_images_of_one_camera_are_answered_once_and_rectified_ones_first(
    tmp_path, options, capsys
):
    entries = []
    for name in ("image_raw", "image_raw/compressed", "image_rect", "image_rect/compressed"):
        message = image(0)
        if "compressed" in name:
            data = cv2.imencode(".png", pixels(0))[1].tobytes()
            message = CompressedImage(header=message.header, format="png", data=data)
        entries.append((f"/front/{name}", message, 1))
    entries.append(("/front/camera_info", camera_info(0, k=[0.0] * 9), 2))
    bag = record(tmp_path / "in.mcap", entries)
    assert run(bag, tmp_path / "out.mcap", *options) == 0
    assert "/front/image_rect -> /km3d/detections: 1 of 1" in capsys.readouterr().out
    chosen = ("--image", "/front/image_raw/compressed", "--rectified")
    assert run(bag, tmp_path / "chosen.mcap", *options, *chosen) == 0
    assert results(tmp_path / "chosen.mcap") == results(tmp_path / "out.mcap")


def test_frames_that_cannot_be_used_are_counted_and_named_and_the_others_answered(
    tmp_path, options, capsys
):
    bad = {
        "bad_image": [image(1, encoding="nothing"), image(2, width=0), b"\0\1\0\0"],
        "bad_camera_info": [image(3)],
        "size_mismatch": [image(4)],
        "no_camera_info": [image(5, frame_id="other")],
    }
    entries = [("/front/image_raw", image(0), 0), ("/front/camera_info", camera_info(0), 0)]
    for i, message in enumerate(m for messages in bad.values() for m in messages):
        entries.append(("/front/image_raw", message, (1 + i) * PERIOD))
    entries.append(("/front/camera_info", camera_info(3, k=[0.0] * 9), 3 * PERIOD))
    entries.append(("/front/camera_info", camera_info(4, width=640), 4 * PERIOD))
    bag = record(tmp_path / "in.mcap", entries)
    assert run(bag, tmp_path / "out.mcap", *options, "--json") == 0
    shown = capsys.readouterr()
    (camera,) = json.loads(shown.out)["cameras"]
    assert (camera["frames"], camera["answered"]) == (7, 1)
    assert camera["unusable"] == {cause: len(messages) for cause, messages in bad.items()}
    assert f"/front/image_raw at {START + PERIOD} ns: bad_image: " in shown.err
    assert "'nothing'" in shown.err
    assert len(results(tmp_path / "out.mcap")) == 2
    assert not (tmp_path / "out.mcap.partial").exists()


def test_images_without_the_stamp_of_a_camera_info_use_the_newest_one(tmp_path, options, capsys):
    entries = [("/front/camera_info", camera_info(0), 0)]
    entries += [("/front/image_raw", image(i), i * PERIOD) for i in (1, 3)]
    entries.append(("/front/camera_info", camera_info(2, focal=120.0), 2 * PERIOD))
    bag = record(tmp_path / "in.mcap", sorted(entries, key=lambda entry: entry[2]))
    assert run(bag, tmp_path / "out.mcap", *options, "--json") == 0
    assert json.loads(capsys.readouterr().out)["cameras"][0]["inexact"] == 2
    messages = list(read_bag(tmp_path / "out.mcap", ["/km3d/objects"]))
    assert [entry.message.k[0] for entry in messages] == [90.0, 120.0]


@pytest.mark.parametrize(("source", "storage", "out"), STORAGES)
def test_same_recording_gives_the_same_bytes_twice(tmp_path, options, source, storage, out):
    bag = drive(tmp_path / source, 6, ("front", "rear"), storage)
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        assert run(bag, folder / out, *options) == 0
        files = (path for path in folder.rglob("*") if path.is_file())
        written.append({path.name: path.read_bytes() for path in files})
    assert len(written[0]) == (1 if source == "in.mcap" else 2)
    assert written[0] == written[1]


def test_types_that_a_recording_does_not_define_are_defined_in_the_new_one(tmp_path, options):
    bag = drive(tmp_path / "in", 1, storage="sqlite3")
    with sqlite3.connect(next(bag.glob("*.db3"))) as database:
        database.execute("DELETE FROM message_definitions")
        values = "(NULL, '/own', 'own_msgs/msg/Thing', 'cdr', '', '')"
        own = database.execute(f"INSERT INTO topics VALUES {values}").lastrowid
        row = (own, START + PERIOD, b"its content")
        database.execute("INSERT INTO messages VALUES (NULL, ?, ?, ?)", row)
    for out in ("out", "out.mcap"):
        assert run(bag, tmp_path / out, *options) == 0
        with AnyReader([tmp_path / out]) as reader:
            messages = {c.topic: (c.msgtype, data) for c, _, data in reader.messages()}
            assert messages["/own"] == ("own_msgs/msg/Thing", b"its content")
            for topic, width in (("/front/image_raw", 96), ("/front/camera_info", 96)):
                kind, data = messages[topic]
                assert reader.deserialize(data, kind).width == width
            kind, data = messages["/km3d/detections"]
            assert len(reader.deserialize(data, kind).detections) == FOUND


@pytest.mark.parametrize(("source", "storage", "out"), STORAGES[1:])
def test_cut_recording_keeps_what_is_left_and_names_the_spot(
    tmp_path, options, source, storage, out, capsys
):
    bag = drive(tmp_path / source, 10, storage=storage, padding=300_000)
    before = raw(bag)
    (file,) = (path for path in bag.iterdir() if path.suffix != ".yaml")
    file.write_bytes(file.read_bytes()[: int(0.9 * file.stat().st_size)])
    assert run(bag, tmp_path / out, *options, "--json") == 0
    shown = capsys.readouterr()
    summary = json.loads(shown.out)
    originals = [entry for entry in raw(tmp_path / out) if "/km3d" not in entry[0]]
    assert originals == before[: len(originals)]
    assert 20 < len(originals) == summary["messages"] < 28
    assert summary["damaged"] == 1
    assert summary["cameras"][0]["answered"] == summary["cameras"][0]["frames"] > 3
    assert f"{file}: cut" in shown.err


def test_interrupted_run_leaves_nothing(tmp_path, options, monkeypatch):
    def interrupt(*given):
        raise KeyboardInterrupt

    bag = drive(tmp_path / "in.mcap", 2)
    monkeypatch.setattr(Detector, "__call__", interrupt)
    assert run(bag, tmp_path / "out", *options) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["in.mcap"]


def test_remains_of_a_run_that_was_killed_are_replaced(tmp_path, options):
    bag = drive(tmp_path / "in.mcap", 2)
    remains = [tmp_path / "out.partial" / name for name in ("new/out_0.mcap", "unpacked/in.mcap")]
    for file in remains:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"remains")
    assert run(bag, tmp_path / "out", *options) == 0
    assert len(raw(tmp_path / "out")) == len(raw(bag)) + 4
    assert not (tmp_path / "out.partial").exists()


def test_recording_in_the_place_of_the_partial_one_is_refused(tmp_path, options, capsys):
    bag = drive(tmp_path / "out.partial", 2)
    assert run(bag, tmp_path / "out", *options) == 1
    assert f"{bag} is where {tmp_path}/out is written" in capsys.readouterr().err
    assert len(raw(bag)) == 6


def test_full_disk_is_named_and_nothing_is_left(tmp_path, options, capsys):
    bag = drive(tmp_path / "in.mcap", 8)
    with full_disk(20_000):
        code = run(bag, tmp_path / "out.mcap", *options)
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"km3d bag: {tmp_path}/out.mcap.partial/new/out_0.mcap: File too large"
    assert [path.name for path in tmp_path.iterdir()] == ["in.mcap"]


def test_cut_recording_without_a_camera_left_is_kept(tmp_path, options, capsys):
    chatter = Header(frame_id=2**20 * "a")  # ends its chunk
    entries = [("/chatter", chatter, 0), ("/front/image_raw", image(0), 1)]
    bag = record(tmp_path / "in.mcap", [*entries, ("/front/camera_info", camera_info(0), 2)])
    before = raw(bag)
    bag.write_bytes(bag.read_bytes()[: bag.read_bytes().index(pixels(0).tobytes()) + 1000])
    assert run(bag, tmp_path / "out.mcap", *options) == 0
    assert raw(tmp_path / "out.mcap") == before[:1]
    assert "no images with a CameraInfo beside them" in capsys.readouterr().err
    assert run(bag, tmp_path / "asked.mcap", *options, "--image", "/frnt/image_raw") == 1
    assert "no images on /frnt/image_raw" in capsys.readouterr().err
    assert not (tmp_path / "asked.mcap").exists()


def test_ros_1_bag_is_answered_as_the_same_recording_of_ros_2(tmp_path, options, capsys):
    entries = [("/front/camera_info", camera_info(0), 0), ("/front/image_raw", image(0), 0)]
    old = record_ros1(tmp_path / "in.bag", [(name, item, START) for name, item, _ in entries])
    new = record(tmp_path / "in.mcap", entries)
    assert run(old, tmp_path / "old", *options) == 0
    assert "/front/image_raw -> /km3d/detections: 1 of 1 frames" in capsys.readouterr().out
    assert run(new, tmp_path / "new", *options) == 0
    assert results(tmp_path / "old") == results(tmp_path / "new")
    kinds = {topic: kind for topic, kind, *_ in raw(tmp_path / "old")}
    assert kinds["/wheel"] == "own/msg/Wheel"
    assert kinds["/front/camera_info"] == "sensor_msgs/msg/CameraInfo"


def test_camera_file_and_camera_info_elsewhere_replace_what_is_beside(tmp_path, options, capsys):
    focal = 120.0
    entries = [("/front/image_raw", image(0), 0), ("/front/camera_info", camera_info(0), 0)]
    entries.append(("/calibrated", camera_info(0, focal=focal), 0))
    bag = record(tmp_path / "in.mcap", entries)
    data = {"data": [focal, 0.0, 48.0, 0.0, focal, 32.0, 0.0, 0.0, 1.0]}
    changes = {"camera_matrix": data, "image_width": 96, "image_height": 64}
    projection = {"data": [focal, 0.0, 48.0, 0.0, 0.0, focal, 32.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
    file = ros_calibration(tmp_path / "front.yaml", projection_matrix=projection, **changes)
    answers = []
    for option, value in {"--camera": file, "--camera-info": "/calibrated"}.items():
        assert run(bag, tmp_path / option, *options, "--json", option, value) == 0
        (camera,) = json.loads(capsys.readouterr().out)["cameras"]
        assert (camera["camera_info"], camera["answered"]) == (str(value), 1)
        (found,) = read_bag(tmp_path / option, ["/km3d/objects"])
        assert found.message.k[0] == focal
        answers.append(results(tmp_path / option))
    assert answers[0] == answers[1]


def test_camera_file_that_does_not_fit_the_images_is_named(tmp_path, options, capsys):
    bag = drive(tmp_path / "in.mcap", 1)
    file = ros_calibration(tmp_path / "front.yaml")
    assert run(bag, tmp_path / "out", *options, "--camera", file) == 1
    said = capsys.readouterr().err
    assert f"bad_camera_info: {file}: calibrated for images of 160x96, got 96x64" in said
    assert "not one of 1 images can be used" in said


def test_summary_says_what_images_are_taken_as(tmp_path, options, capsys):
    info = camera_info(0, d=[0.1, 0.0, 0.0, 0.0, 0.0])
    entries = [("/front/image_raw", image(0), 0), ("/front/camera_info", info, 0)]
    bag = record(tmp_path / "in.mcap", entries)
    assert run(bag, tmp_path / "raw", *options) == 0
    shown = capsys.readouterr()
    assert "1 of 1 frames; raw (K, D and R of /front/camera_info)\n" in shown.out
    assert shown.err == ""
    assert run(bag, tmp_path / "rectified", *options, "--rectified", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["cameras"][0]["rectified"] is True
    assert shown.err == (
        "/front/image_raw: P of /front/camera_info is used, but the topic is not named like "
        "image_rect and D is not zero: if the images are raw, distances are wrong; use --raw\n"
    )


@pytest.mark.parametrize("prefix", ["/", "km3d", "/foo bar", "/km3d//front", "/1st"])
def test_prefix_that_makes_no_topics_is_refused(tmp_path, prefix, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "in.mcap", tmp_path / "out.mcap", "--prefix", prefix)
    assert stopped.value.code == 2
    assert "expected an absolute topic such as /km3d" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing", "out"), "missing: no such file or folder"),
        (("in.mcap", "in.mcap"), "in.mcap exists already"),
        (("in.mcap", "out.db3"), "expected a folder or an .mcap file"),
        (("in.mcap", "out", "--image", "/rear"), "no images on /rear; image topics in this bag: "),
        (("in.mcap", "out", "--rectified", "--prefix", "/front"), None),
        (("results.mcap", "out"), "has /km3d/detections already: give another --prefix"),
        (("chatter.mcap", "out"), "no images with a CameraInfo beside them"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, options, arguments, message, capsys):
    drive(tmp_path / "in.mcap", 1)
    record(tmp_path / "chatter.mcap", [("/chatter", Header(), 0)])
    entries = [("/front/image_raw", image(0), 0), ("/front/camera_info", camera_info(0), 0)]
    record(tmp_path / "results.mcap", [*entries, ("/km3d/detections", Header(), 0)])
    source, out, *others = arguments
    code = run(tmp_path / source, tmp_path / out, *options, *others)
    shown = capsys.readouterr().err
    if message is None:
        assert (code, shown) == (0, "")
        return
    assert code == 1
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out.partial").exists()


def static(parent, child, x, y, z, w):
    transform = TransformStamped(child_frame_id=child)
    transform.header.frame_id = parent
    transform.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    return TFMessage(transforms=[transform])


@pytest.fixture
def mounted(tmp_path):
    """A recording with the static transforms of a camera that looks 0.1 rad down."""
    messages = [("/front/camera_info", camera_info(0)), ("/front/image_raw", image(0))]
    frame_id = image(0).header.frame_id
    messages.append(("/tf_static", static("base_link", "mast", 0.0, sin(0.05), 0.0, cos(0.05))))
    messages.append(("/tf_static", static("mast", frame_id, -0.5, 0.5, -0.5, 0.5)))
    return record(tmp_path / "in.mcap", [(*entry, 0) for entry in messages])


def bbox_centers(path):
    ((_, found, _),) = read_bag(path, ["/km3d/detections"])
    positions = [d.bbox.center.position for d in found.detections]
    return np.array([(p.x, p.y, p.z) for p in positions])


def test_static_transforms_of_the_recording_give_the_mount_of_the_camera(
    tmp_path, options, mounted
):
    outs = [tmp_path / f"{name}.mcap" for name in ("frame", "angle", "level")]
    mounts = (["--base-frame", "base_link"], ["--camera-pitch", "0.1"], [])
    for out, mount in zip(outs, mounts, strict=True):
        assert run(mounted, out, *options, *mount) == 0
    by_frame, by_angle, level = map(bbox_centers, outs)
    np.testing.assert_allclose(by_frame, by_angle, rtol=1e-4)
    assert not np.allclose(by_frame, level, rtol=1e-2)


def test_recording_without_the_wanted_transform_is_named(tmp_path, options, mounted, capsys):
    assert run(mounted, tmp_path / "out.mcap", *options, "--base-frame", "base") == 1
    error = capsys.readouterr().err
    assert "no_level: no static transform from base to" in error
    assert "not one of 1 images can be used" in error
