"""Malformed input, drawn by hypothesis: the node answers or counts every frame.

Every run draws other input, for SECONDS a test. The database keeps what failed; the next run
starts with it. benchmarks/fuzz.py does the same for longer, with the node in its own process.
"""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import CompressedImage
from support import malformed

from km3d_ros.frames.drops import DropCause

SECONDS = 2.0
BATCH = 20
PATIENCE = 10.0
DATABASE = DirectoryBasedExampleDatabase(Path(__file__).parents[2] / ".hypothesis" / "examples")
batch_by_batch = settings(
    max_examples=3,
    deadline=None,
    derandomize=False,
    database=DATABASE,
    phases=[Phase.reuse, Phase.generate],  # shrinking would take minutes
    print_blob=True,
    verbosity=Verbosity.quiet,  # the messages are too large to be shown
    suppress_health_check=list(HealthCheck),
)


def explore(run):
    """Draw batches until SECONDS have passed."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        run()


def batches(*kinds):
    return st.lists(st.one_of(*kinds), min_size=BATCH, max_size=BATCH)


def totals(bench):
    return bench.node.statistics[""].totals()


def send(bench, image, info):
    """Publish both and wait until the node has answered or counted the image."""
    infos, images = totals(bench).infos, totals(bench).received
    bench.infos.publish(info)
    bench.spin_until(lambda: totals(bench).infos > infos)
    bench.images.publish(image)
    bench.spin_until(lambda: totals(bench).received > images)
    bench.clock.now += 1.0  # the longest wait for a CameraInfo is over
    bench.node.report()
    wait_for_worker(bench)


def wait_for_worker(bench):
    deadline = time.monotonic() + PATIENCE
    while totals(bench).received != totals(bench).answered + totals(bench).dropped.total():
        assert time.monotonic() < deadline, "a frame is neither answered nor counted"
        time.sleep(1e-4)


def check(bench, good):
    """The node answers the next good frame, and no frame ended in an unexpected exception."""
    answered = totals(bench).answered
    info = malformed.good_info("good")
    good.header.stamp.sec = info.header.stamp.sec = 1000 + totals(bench).received
    send(bench, good, info)
    assert totals(bench).answered > answered
    assert totals(bench).dropped[DropCause.FAILED] == 0, totals(bench).last_error


@pytest.mark.parametrize("rectified", [True, False])
def test_malformed_frames_are_dropped_by_cause_and_the_next_good_one_is_answered(bench, rectified):
    bench.start(rectified=rectified, max_detections=5)
    pairs = st.tuples(malformed.images(), malformed.infos())

    @batch_by_batch
    @given(batches(pairs, malformed.odd_frames()))
    def run(frames):
        for image, info in frames:
            send(bench, image, info)
        check(bench, malformed.good_image("good"))

    explore(run)
    assert totals(bench).faults > 5


def test_malformed_compressed_images_are_dropped_by_cause(bench):
    bench.images = bench.peer.create_publisher(CompressedImage, "image/compressed", 10)
    bench.start(image_transport="compressed", max_detections=5)

    @batch_by_batch
    @given(batches(malformed.compressed_images()))
    def run(images):
        for image in images:
            send(bench, image, malformed.good_info())
        check(bench, malformed.good_compressed("good"))

    explore(run)
    assert totals(bench).dropped[DropCause.BAD_IMAGE] > 5


def test_parameters_of_any_name_type_and_value_are_answered_and_frames_too(bench):
    bench.start()
    client = bench.peer.create_client(SetParameters, "/km3d/set_parameters")
    bench.spin_until(client.service_is_ready)

    @batch_by_batch
    @given(batches(malformed.parameters()))
    def run(parameters):
        request = SetParameters.Request(parameters=parameters)
        future = client.call_async(request)
        bench.spin_until(future.done)
        results = future.result().results
        assert len(results) == BATCH
        assert all(result.successful or result.reason for result in results)
        check(bench, malformed.good_image("good"))

    explore(run)
