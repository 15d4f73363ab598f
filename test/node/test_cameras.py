"""Several cameras on one model."""

from collections import Counter
from threading import Event

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from km3d_ros.msg import FrameTiming, KeypointDetectionArray
from rclpy.exceptions import InvalidParameterValueException
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection3DArray

from km3d_ros.frames.drops import DropCause
from km3d_ros.inference.detector import Detector

NAMES = ["front", "left", "right"]


@pytest.fixture
def cameras(bench):
    """Publishers of image and CameraInfo by camera; the node is active and has found them."""
    publishers = {
        name: (
            bench.peer.create_publisher(Image, f"{name}/image", 10),
            bench.peer.create_publisher(CameraInfo, f"{name}/camera_info", 10),
        )
        for name in NAMES
    }
    bench.create(weights=bench.weights, score_threshold=0.0, max_detections=5, cameras=NAMES)
    assert bench.node.autostart()
    for pair in publishers.values():
        for publisher in pair:
            bench.spin_until(lambda p=publisher: p.get_subscription_count() == 1)
    return publishers


def send(bench, cameras, name, stamp, focal=150.0, image=None):
    images, infos = cameras[name]
    received = bench.node.statistics[name].totals().received
    infos.publish(bench.info(stamp, frame_id=name, focal=focal))
    images.publish(image or bench.image(stamp, frame_id=name))
    bench.spin_until(lambda: bench.node.statistics[name].totals().received > received)


def answered(bench):
    return Counter({n: s.totals().answered for n, s in bench.node.statistics.items()})


def dropped(bench):
    return {n: dict(s.totals().dropped) for n, s in bench.node.statistics.items()}


def test_every_camera_is_answered_on_its_own_topics_with_its_own_intrinsics(bench, cameras):
    detections = {n: bench.listen(Detection3DArray, f"/km3d/{n}/detections") for n in NAMES}
    objects = {n: bench.listen(KeypointDetectionArray, f"/km3d/{n}/objects") for n in NAMES}
    for number, name in enumerate(NAMES):
        send(bench, cameras, name, 10.0 + number, focal=100.0 + 40 * number)
    for topics in (detections, objects):
        bench.spin_until(lambda topics=topics: all(topics.values()))
    for number, name in enumerate(NAMES):
        (found,), (details,) = detections[name], objects[name]
        assert (found.header.frame_id, found.header.stamp.sec) == (name, 10 + number)
        assert details.k[0] == 100.0 + 40 * number
        assert len(found.detections) == 5


@pytest.mark.parametrize(("together", "expected"), [(False, [1, 1, 1]), (True, [1, 2])])
def test_frames_that_wait_are_answered_one_by_one_on_a_cpu_and_together_on_a_gpu(
    bench, cameras, monkeypatch, together, expected
):
    begun, go_on, sizes = Event(), Event(), []
    detect = Detector.batch

    def held(self, images, cameras):
        sizes.append(len(images))
        begun.set()
        assert go_on.wait(60)
        return detect(self, images, cameras)

    monkeypatch.setattr(Detector, "is_faster_in_batches", together)
    for step in (bench.node.trigger_deactivate, bench.node.trigger_activate):
        step()
    for pair in cameras.values():
        for publisher in pair:
            bench.spin_until(lambda p=publisher: p.get_subscription_count() == 1)
    monkeypatch.setattr(Detector, "batch", held)
    send(bench, cameras, "front", 1.0)
    bench.spin_until(begun.is_set)
    for stamp in (2.0, 3.0, 4.0):
        send(bench, cameras, "front", stamp)
    send(bench, cameras, "left", 2.0)
    go_on.set()
    bench.spin_until(lambda: answered(bench).total() == 3)
    assert sizes == expected
    assert answered(bench) == {"front": 2, "left": 1, "right": 0}
    assert dropped(bench) == {"front": {DropCause.OVERTAKEN: 2}, "left": {}, "right": {}}


def test_bad_image_of_one_camera_costs_the_others_nothing(bench, cameras):
    bad = bench.image(1.0, frame_id="left")
    bad.encoding = "16FC7"
    for name in NAMES:
        send(bench, cameras, name, 1.0, image=bad if name == "left" else None)
    bench.spin_until(lambda: answered(bench).total() == 2)
    assert answered(bench) == {"front": 1, "left": 0, "right": 1}
    assert dropped(bench)["left"] == {DropCause.BAD_IMAGE: 1}


def test_detector_that_fails_costs_every_camera_of_the_batch_one_frame(
    bench, cameras, monkeypatch
):
    with monkeypatch.context() as broken:
        broken.setattr(Detector, "batch", lambda *_: 1 / 0)
        for name in NAMES:
            send(bench, cameras, name, 1.0)
        failed = {name: {DropCause.FAILED: 1} for name in NAMES}
        bench.spin_until(lambda: dropped(bench) == failed)
    send(bench, cameras, "left", 2.0)
    bench.spin_until(lambda: answered(bench)["left"] == 1)


def test_diagnostics_tell_of_each_camera_by_name(bench, cameras):
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    send(bench, cameras, "front", 1.0)
    bench.spin_until(lambda: answered(bench)["front"] == 1)
    bench.clock.now += 1.0
    bench.node.report()
    bench.spin_until(lambda: reports)
    front, left, right = reports[0].status
    assert [status.name for status in (front, left, right)] == [
        "km3d: front",
        "km3d: left",
        "km3d: right",
    ]
    assert (front.level, left.level) == (DiagnosticStatus.OK, DiagnosticStatus.OK)
    assert left.message == "waiting for the first image on /left/image"
    assert {pair.key: pair.value for pair in front.values}["answered"] == "1"


def test_log_tells_what_is_wrong_with_each_camera(bench, cameras, capfd):
    for name in NAMES:
        bad = bench.image(1.0, frame_id=name)
        bad.encoding = "16FC7"
        send(bench, cameras, name, 1.0, image=bad)
    bench.spin_until(lambda: all(dropped(bench).values()))
    bench.clock.now += 1.0
    bench.node.report()
    logged = capfd.readouterr().err
    for name in NAMES:
        assert f"[km3d.{name}]: 1 frames dropped, the last one: " in logged


def test_diagnostics_of_vehicles_have_different_names(bench):
    bench.create(["--ros-args", "-r", "__ns:=/alpha"])
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    bench.node.report()
    bench.spin_until(lambda: reports)
    assert [status.name for status in reports[0].status] == ["alpha/km3d: detector"]


def test_drops_are_told_in_the_timing_of_their_own_camera(bench, cameras):
    timings = {n: bench.listen(FrameTiming, f"/km3d/{n}/timing") for n in ("front", "left")}
    bad = bench.image(1.0, frame_id="left")
    bad.width = 0
    send(bench, cameras, "left", 1.0, image=bad)
    bench.spin_until(lambda: dropped(bench)["left"])
    for name in ("front", "left"):
        send(bench, cameras, name, 2.0)
    bench.spin_until(lambda: all(timings.values()))
    assert list(timings["front"][0].drop_causes) == []
    assert list(timings["left"][0].drop_causes) == ["bad_image"]


@pytest.mark.parametrize("names", [["front", "front"], ["front", ""], ["fr/ont"], ["1st"]])
def test_names_that_make_no_topics_are_refused(bench, names):
    with pytest.raises(InvalidParameterValueException, match=r"cameras is .* expected different"):
        bench.create(cameras=names)
