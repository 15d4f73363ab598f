import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, current_thread

import cv2
import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from km3d_ros.msg import FrameTiming, KeypointDetectionArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from km3d_ros.frames.drops import DropCause
from km3d_ros.inference.detector import Detector
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.node import detector_node, outputs
from km3d_ros.node.compatibility import with_message_info


def totals(bench):
    return bench.node.statistics[""].totals()


def settle(bench):
    """Wait until every received frame is answered or dropped."""
    bench.spin_until(
        lambda: totals(bench).received == totals(bench).answered + totals(bench).dropped.total()
    )


def send(bench, image=None, info=None):
    """Publish a CameraInfo and an image, and wait until the node has taken them."""
    before = totals(bench)
    if info is not None:
        bench.infos.publish(info)
        bench.spin_until(lambda: totals(bench).infos > before.infos)
    if image is not None:
        bench.images.publish(image)
        bench.spin_until(lambda: totals(bench).received > before.received)


def answer(bench, stamp=1.0):
    before = totals(bench).answered
    send(bench, bench.image(stamp), bench.info(stamp))
    bench.spin_until(lambda: totals(bench).answered > before)


def transition(bench, transition_id):
    request = ChangeState.Request(transition=Transition(id=transition_id))
    return bench.call(ChangeState, "/km3d/change_state", request).success


def state(bench):
    return bench.call(GetState, "/km3d/get_state", GetState.Request()).current_state.label


def hold(monkeypatch):
    """Let frames begin but not end until the second event is set; returns both events."""
    begun, go_on = Event(), Event()
    detect = Detector.batch

    def held(self, images, cameras):
        begun.set()
        assert go_on.wait(60)
        return detect(self, images, cameras)

    monkeypatch.setattr(Detector, "batch", held)
    return begun, go_on


def test_frame_is_answered_on_every_topic_with_the_header_of_the_image(bench):
    bench.start(max_detections=20, precision="float32")
    detections = bench.listen(Detection3DArray, "/km3d/detections")
    objects = bench.listen(KeypointDetectionArray, "/km3d/objects")
    markers = bench.listen(MarkerArray, "/km3d/markers")
    annotated = bench.listen(Image, "/km3d/image_annotated")
    bev = bench.listen(Image, "/km3d/bev")
    timing = bench.listen(FrameTiming, "/km3d/timing")
    answer(bench, stamp=12.25)
    topics = (detections, objects, markers, annotated, bev, timing)
    bench.spin_until(lambda: all(topics))

    header = bench.image(stamp=12.25).header
    for (message,) in (detections, objects, annotated, bev, timing):
        assert message.header == header
    assert len(detections[0].detections) == len(objects[0].objects) == 20
    assert len(markers[0].markers) == 1 + 3 * 20
    for found in detections[0].detections:
        assert found.header == header
        (result,) = found.results
        assert result.hypothesis.class_id in ("Car", "Pedestrian", "Cyclist")
        position, turn = found.bbox.center.position, found.bbox.center.orientation
        assert np.isfinite([position.x, position.y, position.z]).all()
        assert math.isclose(turn.x**2 + turn.y**2 + turn.z**2 + turn.w**2, 1, abs_tol=1e-9)
        assert np.isfinite(result.pose.covariance).all()
    assert (annotated[0].width, annotated[0].height) == (160, 96)


def test_empty_scene_is_answered_with_an_empty_array(bench):
    bench.start(score_threshold=1.0)
    detections = bench.listen(Detection3DArray, "/km3d/detections")
    answer(bench)
    bench.spin_until(lambda: detections)
    assert detections[0].detections == []


def test_frames_are_answered_while_a_picture_is_drawn_and_the_newest_one_is_next(
    bench, monkeypatch
):
    drawing, go_on, drawn = Event(), Event(), []

    def slowly(outputs, view, detections, class_names):
        drawing.set()
        assert go_on.wait(60)
        drawn.append(view.frame.image.header.stamp.sec)

    monkeypatch.setattr(outputs.Outputs, "draw", slowly)
    bench.start()
    answer(bench, stamp=1.0)
    assert drawing.wait(60)
    for stamp in (2.0, 3.0):
        answer(bench, stamp)
    assert drawn == []
    go_on.set()
    bench.spin_until(lambda: len(drawn) == 2)
    assert drawn == [1, 3]


def test_pictures_are_drawn_only_for_subscribers(bench, monkeypatch):
    drawn = []
    draw = outputs.draw_bev
    monkeypatch.setattr(outputs, "draw_bev", lambda *args: drawn.append(1) or draw(*args))
    bench.start()
    answer(bench, stamp=1.0)
    answer(bench, stamp=2.0)
    assert not drawn
    pictures = bench.listen(Image, "/km3d/bev")
    answer(bench, stamp=3.0)
    bench.spin_until(lambda: pictures)
    assert drawn


def test_compressed_images_arrive_below_the_remapped_name_of_the_image(bench):
    bench.images = bench.peer.create_publisher(CompressedImage, "front/image/compressed", 10)
    remap = ["--ros-args", "-r", "image:=front/image"]
    bench.start(arguments=remap, image_transport="compressed")
    png = cv2.imencode(".png", np.zeros((96, 160, 3), np.uint8))[1]
    image = CompressedImage(header=bench.image().header, format="png", data=png.tobytes())
    send(bench, image, bench.info())
    bench.spin_until(lambda: totals(bench).answered == 1)


def test_changed_calibration_is_used_from_its_own_frame_on_and_logged_once(bench, capfd):
    bench.start(max_detections=1)
    objects = bench.listen(KeypointDetectionArray, "/km3d/objects")
    for stamp, focal in ((1.0, 150.0), (2.0, 150.0), (3.0, 90.0), (4.0, 90.0)):
        send(bench, bench.image(stamp), bench.info(stamp, focal=focal))
        settle(bench)
    bench.spin_until(lambda: len(objects) == 4)
    assert [message.k[0] for message in objects] == [150.0, 150.0, 90.0, 90.0]
    lines = capfd.readouterr().err.splitlines()
    told = [line for line in lines if "calibration of /image" in line]
    assert [line.split(", ")[1] for line in told] == ["fx 150.0", "fx 90.0"]


def test_bits_in_use_of_16_bit_images_are_logged_when_they_change(bench, capfd):
    bench.start(max_detections=1)
    for stamp, value in ((1.0, 900), (2.0, 100), (3.0, 4000), (4.0, 4095)):
        image = bench.image(stamp)
        pixels = np.full((image.height, image.width), value, "<u2")
        image.encoding, image.step, image.data = "mono16", 2 * image.width, pixels.tobytes()
        send(bench, image, bench.info(stamp))
        settle(bench)
    bench.spin_until(lambda: totals(bench).answered == 4)
    lines = capfd.readouterr().err.splitlines()
    logged = [line.partition("16-bit values use ")[2] for line in lines if "16-bit" in line]
    assert logged == [f"{bits} bits, of which the upper 8 are taken" for bits in (10, 12)]


def test_bag_that_starts_over_is_answered_again(bench):
    bench.start()
    detections = bench.listen(Detection3DArray, "/km3d/detections")
    for stamp in (1.0, 2.0, 3.0) * 2:
        answer(bench, stamp)
    bench.spin_until(lambda: len(detections) == 6)
    assert [message.header.stamp.sec for message in detections] == [1, 2, 3, 1, 2, 3]
    assert totals(bench).inexact == 0


def test_newest_frame_overtakes_the_one_that_waits(bench, monkeypatch):
    begun, go_on = hold(monkeypatch)
    bench.start()
    detections = bench.listen(Detection3DArray, "/km3d/detections")
    timings = bench.listen(FrameTiming, "/km3d/timing")
    send(bench, bench.image(1.0), bench.info(1.0))
    assert begun.wait(60)
    for stamp in (2.0, 3.0, 4.0):
        send(bench, bench.image(stamp), bench.info(stamp))
    go_on.set()
    bench.spin_until(lambda: len(timings) == 2 and len(detections) == 2)
    assert [message.header.stamp.sec for message in detections] == [1, 4]
    drops = {
        cause: count
        for message in timings
        for cause, count in zip(message.drop_causes, message.drop_counts, strict=True)
    }
    assert drops == {"overtaken": 2}
    assert totals(bench).received == 4


def test_images_that_the_middleware_gave_up_for_a_newer_one_are_counted_as_missed(bench):
    bench.start()
    infos = []
    bench.peer.create_subscription(
        Image, "image", with_message_info(lambda _, info: infos.append(info)), 1
    )
    answer(bench, stamp=1.0)
    bench.spin_until(lambda: infos)
    if "publisher_gid" not in infos[0]:
        pytest.skip("this rclpy does not name the publisher of a message")
    bench.infos.publish(bench.info(4.0))
    for stamp in (2.0, 3.0, 4.0):
        bench.images.publish(bench.image(stamp))
    bench.images.wait_for_all_acked()
    bench.spin_until(lambda: totals(bench).answered == 2)
    assert totals(bench).dropped == {DropCause.MISSED: 2}
    assert totals(bench).received == 4


# Bad input: the frame is dropped and counted by cause, the next one is answered.


def unknown_encoding(image, info):
    image.encoding = "16FC7"


def short_data(image, info):
    image.data = image.data[:-1]


def too_wide(image, info):
    image.width = info.width = 32767
    image.height = info.height = 1
    image.step, image.data = 3 * image.width, bytes(3 * image.width)


def single_pixel(image, info):
    image.width = image.height = info.width = info.height = 1
    image.step, image.data, image.encoding = 3, bytes(3), "rgb8"


def zero_size(image, info):
    image.width = image.height = 0


def other_size(image, info):
    info.width = 320


def zero_intrinsics(image, info):
    info.p = [0.0] * 12


def nan_intrinsics(image, info):
    info.p[2] = math.nan


def negative_focal(image, info):
    info.p[0] = -150.0


@pytest.mark.parametrize(
    ("spoil", "cause", "words"),
    [
        (unknown_encoding, DropCause.BAD_IMAGE, "'16FC7' is unknown"),
        (short_data, DropCause.BAD_IMAGE, "46079 bytes, expected height * step = 96 * 480"),
        (zero_size, DropCause.BAD_IMAGE, "0x0"),
        (single_pixel, DropCause.BAD_IMAGE, "a single pixel"),
        (too_wide, DropCause.BAD_IMAGE, "32767x1 pixels, expected at most 32766 a side"),
        (other_size, DropCause.SIZE_MISMATCH, "160x96 pixels, but its camera 320x96"),
        (zero_intrinsics, DropCause.BAD_CAMERA_INFO, "focal lengths must be positive"),
        (nan_intrinsics, DropCause.BAD_CAMERA_INFO, "must be finite"),
        (negative_focal, DropCause.BAD_CAMERA_INFO, "fx=-150"),
    ],
)
def test_bad_frame_is_dropped_by_cause_reported_and_survived(bench, spoil, cause, words):
    bench.start(rectified=True)
    image, info = bench.image(1.0), bench.info(1.0)
    spoil(image, info)
    send(bench, image, info)
    settle(bench)
    answer(bench, stamp=5.0)
    settle(bench)
    assert totals(bench).dropped == {cause: 1}
    assert totals(bench).answered == 1
    level, message, values = bench.report()
    assert level == DiagnosticStatus.WARN
    assert words in message
    assert words in values["last_error"]
    assert values[f"dropped.{cause.value}"] == "1"


def test_images_with_the_camera_info_of_another_camera_are_dropped_and_reported(bench):
    bench.start()
    for stamp in (1.0, 2.0):
        send(bench, bench.image(stamp), bench.info(stamp + 0.5, frame_id="rear"))
    assert totals(bench).dropped == {DropCause.NO_CAMERA_INFO: 1}
    level, message, _ = bench.report()
    assert level == DiagnosticStatus.ERROR
    assert "no CameraInfo with the image's frame_id 'camera', only with 'rear'" in message


def test_object_with_non_finite_network_output_is_dropped_and_the_others_stay(bench, monkeypatch):
    bench.start(max_detections=10)
    detections = bench.listen(Detection3DArray, "/km3d/detections")
    regress = KM3DNet.regress

    def poisoned(*args):
        heads = regress(*args)
        heads["hps"][3] = torch.nan
        return heads

    monkeypatch.setattr(KM3DNet, "regress", poisoned)
    answer(bench)
    bench.spin_until(lambda: detections)
    assert len(detections[0].detections) == 9


def test_camera_info_that_never_arrives_is_reported_after_two_seconds(bench):
    bench.start()
    for stamp in (1.0, 2.0):
        bench.clock.now += 0.9
        send(bench, bench.image(stamp))
        level, message, _ = bench.report()
        assert (level, message) == (
            DiagnosticStatus.OK,
            "waiting for the first CameraInfo on /camera_info",
        )
    bench.clock.now += 0.9
    send(bench, bench.image(3.0))
    level, message, _ = bench.report()
    assert level == DiagnosticStatus.WARN
    assert message == "CameraInfo never arriving: none on /camera_info for 3 s"
    bench.clock.now += 0.9
    bench.node.report()
    assert totals(bench).dropped == {DropCause.NO_CAMERA_INFO: 3}


def test_image_that_never_arrives_is_reported_after_two_seconds(bench):
    bench.start()
    send(bench, info=bench.info())
    bench.clock.now += 1.9
    assert bench.report()[0] == DiagnosticStatus.OK
    bench.clock.now += 0.2
    level, message, _ = bench.report()
    assert level == DiagnosticStatus.WARN
    assert message.startswith("image never arriving: none on /image for 2 s, but it has a ")
    assert "fastdds_shm.xml" in message


def test_topic_that_nobody_publishes_is_reported_without_a_hint_at_shared_memory(bench):
    bench.start()
    bench.peer.destroy_publisher(bench.images)
    bench.spin_until(lambda: bench.node.count_publishers("/image") == 0)
    bench.clock.now += 2.5
    assert bench.report()[1] == "image never arriving: none on /image for 2 s"


def test_report_gives_device_model_rates_and_latencies(bench):
    bench.start(backend="auto")
    answer(bench, stamp=1.0)
    bench.clock.now += 0.5
    level, _, values = bench.report()
    assert level == DiagnosticStatus.OK
    assert " on cpu (the quickest" in values["backend"] or " on cuda" in values["backend"]
    assert values["model"] == "lite"
    assert values["weights"] == bench.weights
    assert float(values["input_hz"]) == float(values["output_hz"]) == 2.0
    assert float(values["latency_ms.p50"]) == 0.0


def test_lone_image_does_not_wait_for_its_camera_info_longer_than_half_a_second(bench):
    bench.start()
    send(bench, bench.image(1.0))
    assert totals(bench).dropped == {}
    bench.clock.now += 0.51
    bench.spin_until(lambda: totals(bench).dropped == {DropCause.NO_CAMERA_INFO: 1})


def test_frame_whose_picture_cannot_be_drawn_is_answered_and_reported(bench, monkeypatch):
    bench.start()
    bench.listen(Image, "/km3d/bev")
    monkeypatch.setattr(outputs, "draw_bev", lambda *_: 1 / 0)
    answer(bench)
    bench.spin_until(lambda: totals(bench).undrawn == 1)
    assert totals(bench).dropped == {}
    assert bench.report()[:2] == (
        DiagnosticStatus.WARN,
        "1 frames could not be shown, the last one: ZeroDivisionError: division by zero",
    )


def test_time_that_jumps_back_lets_nothing_wait_and_the_next_frames_are_answered(bench):
    clock = bench.peer.create_publisher(Clock, "/clock", 10)
    bench.start(use_sim_time=True)
    bench.spin_until(lambda: clock.get_subscription_count() == 1)

    def at(seconds):
        bench.spin_until(
            lambda: (
                clock.publish(Clock(clock=Time(sec=seconds)))
                or bench.node.get_clock().now().nanoseconds == seconds * 10**9
            )
        )

    at(100)
    answer(bench, stamp=100.0)
    send(bench, bench.image(101.0))
    at(5)
    bench.spin_until(lambda: totals(bench).answered == 2)
    assert totals(bench).inexact == 1
    answer(bench, stamp=5.0)
    assert totals(bench).inexact == 1
    at(2)  # as a looped bag with a single CameraInfo
    send(bench, bench.image(2.0))
    bench.clock.now += 0.6
    bench.spin_until(lambda: totals(bench).answered == 4)
    assert totals(bench).inexact == 2


@pytest.fixture
def driver():
    """A node in a participant of its own, as in another process."""
    context = Context()
    context.init()
    node = Node("driver", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


def test_images_of_another_type_are_named_with_what_to_start_instead(bench, driver):
    driver.create_publisher(CompressedImage, "front/compressed", 10)
    bench.create(["--ros-args", "-r", "image:=/front/compressed"], weights=bench.weights)
    assert bench.node.autostart()
    bench.spin_until(lambda: bench.node.count_publishers("/front/compressed") == 1)
    level, message, _ = bench.report()
    assert level == DiagnosticStatus.ERROR
    assert message == (
        "/front/compressed has messages of type sensor_msgs/msg/CompressedImage, expected "
        "sensor_msgs/msg/Image: start with image:=/front image_transport:=compressed"
    )


@pytest.mark.parametrize(
    ("rectified", "topic", "used", "warned"),
    [
        ("auto", "/front/image_raw", "raw, K and D are used", False),
        ("auto", "/front/image_rect", "rectified, P is used", False),
        (True, "/front/image_raw", "rectified, P is used", True),
    ],
)
def test_topic_name_says_whether_images_are_rectified(
    bench, capfd, rectified, topic, used, warned
):
    bench.images = bench.peer.create_publisher(Image, topic, 10)
    bench.start(arguments=["--ros-args", "-r", f"image:={topic}"], rectified=rectified)
    info = bench.info()
    info.d[0] = -0.1
    send(bench, bench.image(), info)
    bench.spin_until(lambda: totals(bench).answered == 1)
    logged = capfd.readouterr().err
    assert f"images are {used}" in logged
    assert ("is named like raw images" in logged) == warned


# Quality of service.


def test_camera_info_that_was_latched_before_the_node_started_is_received(bench):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    bench.peer.destroy_publisher(bench.infos)
    bench.infos = bench.peer.create_publisher(CameraInfo, "camera_info", latched)
    bench.infos.publish(bench.info(1.0))
    bench.start(**{"qos_overrides./camera_info.subscription.durability": "transient_local"})
    bench.spin_until(lambda: totals(bench).infos == 1)
    send(bench, bench.image(1.0))
    bench.spin_until(lambda: totals(bench).answered == 1)


def test_publisher_with_another_quality_of_service_is_named_until_it_leaves(bench):
    bench.start(**{"qos_overrides./image.subscription.reliability": "reliable"})
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    other = bench.peer.create_publisher(Image, "image", best_effort)
    words = "QoS: a peer on /image is not connected, its reliability does not fit ours"
    bench.spin_until(lambda: bench.report()[1].startswith(words))
    assert bench.report()[0] == DiagnosticStatus.WARN
    bench.peer.destroy_publisher(other)
    bench.spin_until(lambda: "QoS" not in bench.report()[1])


def test_subscriber_with_another_quality_of_service_is_named(bench):
    bench.start()
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    bench.peer.create_subscription(Detection3DArray, "/km3d/detections", lambda _: None, latched)
    words = "QoS: a peer on /km3d/detections is not connected, its durability"
    bench.spin_until(lambda: bench.report()[1].startswith(words))


# Life cycle.


def test_node_goes_through_its_life_cycle_on_request(bench):
    bench.create(weights=bench.weights, autostart=False)
    assert bench.node.autostart()
    assert state(bench) == "unconfigured"
    for _ in range(2):
        assert transition(bench, Transition.TRANSITION_CONFIGURE)
        assert transition(bench, Transition.TRANSITION_ACTIVATE)
        bench.discover()
        answer(bench)
        assert transition(bench, Transition.TRANSITION_DEACTIVATE)
        bench.spin_until(lambda: bench.images.get_subscription_count() == 0)
        assert bench.report()[:2] == (DiagnosticStatus.OK, "inactive")
        assert transition(bench, Transition.TRANSITION_CLEANUP)
        assert bench.report()[:2] == (DiagnosticStatus.OK, "unconfigured")
    assert transition(bench, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert state(bench) == "finalized"
    assert bench.report()[:2] == (DiagnosticStatus.OK, "finalized")


@pytest.mark.parametrize("state_of_node", ["unconfigured", "active"])
def test_transition_that_the_state_does_not_allow_is_refused(bench, state_of_node):
    bench.create(weights=bench.weights, autostart=state_of_node == "active")
    assert bench.node.autostart()
    wrong = {
        "unconfigured": (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE, 99),
        "active": (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP, 99),
    }
    for number in wrong[state_of_node]:
        assert not transition(bench, number)
        assert state(bench) == state_of_node


def test_deactivating_counts_the_frames_that_wait(bench, monkeypatch):
    begun, go_on = hold(monkeypatch)
    bench.start()
    send(bench, bench.image(1.0), bench.info(1.0))
    assert begun.wait(60)
    send(bench, bench.image(2.0), bench.info(2.0))
    send(bench, bench.image(3.0))
    go_on.set()
    assert transition(bench, Transition.TRANSITION_DEACTIVATE)
    result = totals(bench)
    assert result.received == 3
    assert result.answered + result.dropped.total() == 3
    assert result.dropped[DropCause.PAUSED] >= 1


@pytest.mark.parametrize("size", [None, 1000])
def test_unusable_weights_leave_the_node_unconfigured_and_say_why(bench, tmp_path, size):
    weights = tmp_path / "bad.safetensors"
    if size:
        weights.write_bytes(Path(bench.weights).read_bytes()[:size])
    bench.create(weights=str(weights), autostart=False)
    assert not transition(bench, Transition.TRANSITION_CONFIGURE)
    assert state(bench) == "unconfigured"
    level, message, _ = bench.report()
    assert level == DiagnosticStatus.ERROR
    assert message.startswith(f"cannot configure: {weights}: ")
    assert "\n" not in message


def test_network_is_loaded_in_a_thread_that_leaves_no_helpers(bench, monkeypatch):
    """Helpers of a thread that goes on would slow down those of the worker."""
    threads = []
    load = detector_node.Detector.from_checkpoint
    monkeypatch.setattr(
        detector_node.Detector,
        "from_checkpoint",
        lambda *args, **options: threads.append(current_thread()) or load(*args, **options),
    )
    bench.start()
    (thread,) = threads
    assert not thread.is_alive()
    answer(bench)


def test_device_that_is_not_there_fails_to_configure(bench):
    bench.create(weights=bench.weights, device="cuda:99")
    assert not bench.node.autostart()
    assert "cuda:99" in bench.report()[1]


def test_cleaned_up_node_is_configured_with_changed_parameters(bench):
    bench.start()
    answer(bench, stamp=1.0)
    (result,) = bench.node.set_parameters([Parameter("cameras", value=["front"])])
    assert not result.successful
    assert "cameras: clean up the node first" in result.reason
    for step in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert transition(bench, step)
    changes = {"cameras": ["front"], "weights": "", "threads": 3, "rectified": False}
    results = bench.node.set_parameters([Parameter(n, value=v) for n, v in changes.items()])
    assert all(result.successful for result in results)
    bench.images = bench.peer.create_publisher(Image, "front/image", 10)
    bench.infos = bench.peer.create_publisher(CameraInfo, "front/camera_info", 10)
    for step in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert transition(bench, step)
    bench.discover()
    bench.infos.publish(bench.info())
    bench.images.publish(bench.image())
    bench.spin_until(lambda: bench.node.statistics["front"].totals().answered == 1)
    _, _, values = bench.report()
    assert values["weights"] == "embedded"
    # OpenMP keeps the number by thread: new ones, like the worker, take the changed one.
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(torch.get_num_threads).result() == cv2.getNumThreads() == 3


# Parameters.


def test_unknown_parameters_are_named_with_the_nearest_known_one(bench, capfd):
    bench.create(scor_threshold=0.3, weights=bench.weights)
    logged = capfd.readouterr().err
    assert "there is no parameter 'scor_threshold': did you mean score_threshold?" in logged


def test_live_parameters_act_on_the_next_frame(bench):
    bench.start(max_detections=20, precision="float32")
    detections = bench.listen(Detection3DArray, "/km3d/detections")
    answer(bench, stamp=1.0)
    assert bench.node.set_parameters([Parameter("max_detections", value=5)])[0].successful
    answer(bench, stamp=2.0)
    bench.spin_until(lambda: len(detections) == 2)
    assert [len(message.detections) for message in detections] == [20, 5]


def test_only_chosen_classes_are_published(bench):
    bench.start(max_detections=60)
    detections = bench.listen(Detection3DArray, "/km3d/detections")
    answer(bench, stamp=1.0)
    bench.spin_until(lambda: detections)
    found = {item.results[0].hypothesis.class_id for item in detections[0].detections}
    chosen = sorted(found)[0]
    bench.node.set_parameters([Parameter("classes", value=[chosen])])
    answer(bench, stamp=2.0)
    bench.spin_until(lambda: len(detections) == 2)
    assert {item.results[0].hypothesis.class_id for item in detections[1].detections} == {chosen}
    result = bench.node.set_parameters([Parameter("classes", value=["Truck"])])[0]
    assert not result.successful
    assert "'Truck'" in result.reason


def test_unknown_class_at_start_fails_to_configure(bench):
    bench.create(weights=bench.weights, classes=["Truck"])
    assert not bench.node.autostart()
    assert "'Truck'" in bench.report()[1]


def test_quality_of_service_can_be_overridden(bench):
    override = "qos_overrides./km3d/detections.publisher.reliability"
    bench.start(**{override: "best_effort"})
    (info,) = bench.peer.get_publishers_info_by_topic("/km3d/detections")
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


@pytest.mark.parametrize(
    ("entity", "words"),
    [
        ("/km3d/timing.publisher", "cannot configure: Unexpected QoS override"),
        ("/image.subscription", "cannot activate: Unexpected QoS override"),
        ("/camera_info.subscription", "cannot activate: Unexpected QoS override"),
    ],
)
def test_wrong_quality_of_service_is_refused_and_reported(bench, entity, words):
    override = {f"qos_overrides.{entity}.reliability": "sometimes"}
    bench.create(weights=bench.weights, **override)
    assert not bench.node.autostart()
    level, message, _ = bench.report()
    assert level == DiagnosticStatus.ERROR
    assert message.startswith(words)
    bench.spin_until(lambda: bench.images.get_subscription_count() == 0)
    published = bench.peer.count_publishers("/km3d/detections")
    assert published == (state(bench) == "inactive")
    if published:
        assert transition(bench, Transition.TRANSITION_CLEANUP)
        assert bench.report()[:2] == (DiagnosticStatus.OK, "unconfigured")


def test_start_value_out_of_range_is_refused(bench):
    with pytest.raises(InvalidParameterValueException, match="score_threshold out of range"):
        bench.create(score_threshold=1.5)
