"""The executable in a process of its own, as a user starts it."""

import signal
import subprocess
import sys

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from vision_msgs.msg import Detection3DArray

COMMAND = [sys.executable, "-m", "km3d_ros.node.detector_node", "--ros-args"]


@pytest.fixture
def run():
    processes = []

    def run(**values):
        arguments = [text for name, value in values.items() for text in ("-p", f"{name}:={value}")]
        processes.append(
            subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_process_answers_over_dds_and_stops_cleanly(bench, run, stop):
    # Simulated time that stands still: nobody publishes a clock.
    process = run(weights=bench.weights, score_threshold=0.0, use_sim_time=True)
    received = []
    bench.peer.create_subscription(Detection3DArray, "/km3d/detections", received.append, 10)
    bench.spin_until(lambda: bench.peer.count_publishers("/km3d/detections") == 1)
    bench.discover()

    def answered():
        # Best effort: what is sent before the node's side has found the camera is lost.
        bench.infos.publish(bench.info(stamp=5.0))
        bench.images.publish(bench.image(stamp=5.0))
        return received

    bench.spin_until(answered)
    assert received[0].header == bench.image(stamp=5.0).header
    assert len(received[0].detections) == 100
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_unusable_weights_end_an_autostarted_process_with_one_line(run, tmp_path):
    process = run(weights=tmp_path / "none.safetensors")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = errors.strip().splitlines()
    assert "cannot configure: " in line
    assert "none.safetensors" in line


def test_unusable_weights_do_not_end_a_process_under_life_cycle_control(bench, run, tmp_path):
    process = run(weights=tmp_path / "none.safetensors", autostart=False)
    response = bench.call(GetState, "/km3d/get_state", GetState.Request())
    assert response.current_state.label == "unconfigured"
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert not bench.call(ChangeState, "/km3d/change_state", request).success
    assert process.poll() is None


def test_value_out_of_range_ends_the_process_with_the_rule(run):
    process = run(max_detections=0)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = errors.strip().splitlines()
    assert "max_detections out of range. Min: 1, Max: 1000, value: 0" in line
