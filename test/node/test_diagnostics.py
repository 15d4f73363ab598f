import pytest

from km3d_ros.frames.drops import DropCause
from km3d_ros.frames.statistics import FrameStatistics
from km3d_ros.node.diagnostics import ERROR, OK, WARN, HealthMonitor, stream_values


@pytest.fixture
def statistics():
    return FrameStatistics()


@pytest.fixture
def monitor(statistics):
    return HealthMonitor("/image", "/camera_info", 0.0, statistics.totals())


def arrive(statistics, now, infos=1):
    statistics.image_received(now)
    for _ in range(infos):
        statistics.info_received()


def test_answered_frames_are_fine(statistics, monitor):
    for tenth in range(1, 11):
        arrive(statistics, tenth / 10)
        statistics.answered(0.05, exact=True)
    health, rates = monitor.check(1.0, statistics.totals())
    assert (health.level, health.message) == (OK, "10 frames answered since the last report")
    assert rates == {"input_hz": 10.0, "output_hz": 10.0}


def test_images_that_stop_are_an_error_until_they_return(statistics, monitor):
    arrive(statistics, 1.0)
    statistics.answered(0.05, exact=True)
    assert monitor.check(2.9, statistics.totals())[0].level == OK
    health, _ = monitor.check(3.1, statistics.totals())
    assert (health.level, health.message) == (ERROR, "images stopped: none on /image for 2 s")
    arrive(statistics, 3.5)
    assert monitor.check(4.0, statistics.totals())[0].level == OK


def test_silence_is_judged_from_the_activation_on(statistics):
    arrive(statistics, 1.0)
    monitor = HealthMonitor("/image", "/camera_info", 60.0, statistics.totals())
    assert monitor.check(61.0, statistics.totals())[0].message == (
        "waiting for the first image on /image"
    )
    assert monitor.check(62.0, statistics.totals())[0].level == WARN


def test_frames_overtaken_by_newer_ones_are_no_fault(statistics, monitor):
    arrive(statistics, 1.0)
    statistics.dropped(DropCause.OVERTAKEN)
    assert monitor.check(1.5, statistics.totals())[0].level == OK
    assert statistics.totals().last_error == ""


def test_some_bad_frames_are_a_warning_and_only_bad_frames_an_error(statistics, monitor):
    for now in (0.1, 0.2):
        arrive(statistics, now)
    statistics.answered(0.05, exact=True)
    statistics.dropped(DropCause.BAD_IMAGE, "image has no pixels")
    health, _ = monitor.check(1.0, statistics.totals())
    assert health.level == WARN
    assert health.message == "1 frames dropped, the last one: image has no pixels"
    arrive(statistics, 1.1)
    statistics.dropped(DropCause.BAD_IMAGE, "image has no pixels")
    assert monitor.check(2.0, statistics.totals())[0].level == ERROR
    arrive(statistics, 2.1)
    statistics.answered(0.05, exact=True)
    assert monitor.check(3.0, statistics.totals())[0].level == OK


def test_stamps_that_do_not_match_are_a_warning(statistics, monitor):
    arrive(statistics, 0.1)
    statistics.answered(0.05, exact=False)
    health, _ = monitor.check(1.0, statistics.totals())
    assert health.level == WARN
    assert "stamps of /image and /camera_info do not match" in health.message


def test_images_that_are_lost_on_the_way_are_a_warning_with_the_cure(statistics, monitor):
    arrive(statistics, 0.1)
    statistics.answered(0.05, exact=True)
    statistics.lost(7)
    health, _ = monitor.check(1.0, statistics.totals())
    assert health.level == WARN
    assert health.message.startswith("7 images of /image were lost on the way; ")
    assert "fastdds_shm.xml" in health.message


def test_topic_on_which_all_was_lost_keeps_the_hint_without_its_publisher(statistics, monitor):
    statistics.lost(58)
    assert monitor.check(3.0, statistics.totals())[0].message.startswith(
        "image never arriving: none on /image for 3 s, 58 lost on the way; large images may not"
    )


def test_peers_of_another_quality_of_service_and_what_is_worse_are_both_told(statistics, monitor):
    conflict = "QoS: a peer on /image is not connected"

    def check(now):
        health, _ = monitor.check(now, statistics.totals(), concerns=[conflict])
        return health.level, health.message

    arrive(statistics, 0.1)
    statistics.answered(0.05, exact=True)
    assert check(1.0) == (WARN, conflict)
    arrive(statistics, 1.1)
    statistics.dropped(DropCause.BAD_IMAGE, "image has no pixels")
    fault = "1 frames dropped, the last one: image has no pixels"
    assert check(2.0) == (ERROR, f"{conflict}; {fault}")
    assert check(5.0) == (ERROR, f"{conflict}; images stopped: none on /image for 4 s")


def test_missed_frames_are_received_and_dropped_without_a_fault(statistics, monitor):
    statistics.image_received(0.5, missed=3)
    statistics.info_received()
    statistics.answered(0.05, exact=True)
    health, rates = monitor.check(1.0, statistics.totals())
    assert (health.level, rates["input_hz"]) == (OK, 4.0)
    assert statistics.totals().dropped == {DropCause.MISSED: 3}


def test_values_count_every_cause_and_give_percentiles_in_milliseconds(statistics):
    for milliseconds in range(1, 101):
        statistics.answered(milliseconds / 1000, exact=True)
    statistics.dropped(DropCause.FAILED, "RuntimeError: out of memory")
    values = stream_values(statistics.totals(), statistics.latencies())
    assert values["answered"] == 100
    assert {f"dropped.{cause.value}" for cause in DropCause} <= values.keys()
    assert values["dropped.failed"] == 1
    assert [values[f"latency_ms.p{p}"] for p in (50, 95, 99)] == [50.5, 95.0, 99.0]
    assert values["last_error"] == "RuntimeError: out of memory"


def test_no_latency_is_given_before_the_first_answer(statistics):
    values = stream_values(statistics.totals(), statistics.latencies())
    assert not [name for name in values if name.startswith("latency")]


def test_drops_are_taken_once(statistics):
    statistics.dropped(DropCause.OVERTAKEN)
    statistics.dropped(DropCause.OVERTAKEN)
    assert statistics.take_drops() == {DropCause.OVERTAKEN: 2}
    assert statistics.take_drops() == {}
    assert statistics.totals().dropped == {DropCause.OVERTAKEN: 2}
