"""The node in processes of its own, as a user starts, stops and loses them."""

import re
import signal
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from support.lifecycle_manager import LifecycleManager
from support.node_process import NodeProcess
from vision_msgs.msg import Detection3DArray

STOP = pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
UNKNOWN_TYPE = 99


@pytest.fixture
def run(tmp_path):
    """Starts nodes that are gone when the test is over."""
    processes = []

    def run(name="km3d", **values):
        arguments = ["-r", f"__node:={name}"]
        arguments += [text for key, value in values.items() for text in ("-p", f"{key}:={value}")]
        processes.append(NodeProcess(tmp_path / f"{name}{len(processes)}.log", *arguments))
        return processes[-1]

    yield run
    for process in processes:
        process.close()


def hear(bench, name="km3d"):
    """The detections of a node that arrive from now on."""
    received = []
    bench.peer.create_subscription(Detection3DArray, f"/{name}/detections", received.append, 10)
    return received


def show(bench, received):
    """Publish a frame until it is answered; returns the answer.

    Best effort: what is sent before the node's side has found the camera is lost.
    """
    before = len(received)

    def answered():
        bench.infos.publish(bench.info(stamp=5.0))
        bench.images.publish(bench.image(stamp=5.0))
        return len(received) > before

    bench.spin_until(answered)
    return received[-1]


def transition(bench, name, transition_id):
    request = ChangeState.Request(transition=Transition(id=transition_id))
    return bench.call(ChangeState, f"/{name}/change_state", request).success


def label(bench, name):
    return bench.call(GetState, f"/{name}/get_state", GetState.Request()).current_state.label


def stopped_cleanly(code, words):
    return code == 0 and "Traceback" not in words


def catches(pid, number):
    """Whether the process has a handler for the signal."""
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return int(caught[1], 16) >> (number - 1) & 1


def test_executable_answers_over_dds_and_stops_cleanly(bench, executable):
    # Simulated time that stands still: nobody publishes a clock.
    arguments = [f"weights:={bench.weights}", "score_threshold:=0.0", "use_sim_time:=true"]
    # Random weights are next to flat: in half precision most neighbours are equal, and no peaks.
    arguments.append("precision:=float32")
    process = executable(
        "km3d_node", "--ros-args", *(text for value in arguments for text in ("-p", value))
    )
    answer = show(bench, hear(bench))
    assert answer.header == bench.image(stamp=5.0).header
    assert len(answer.detections) == 100
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert stopped_cleanly(process.returncode, words), words


# Signals: in every state the end is clean.


def test_signal_while_libraries_are_imported_ends_the_executable_at_once(bench, executable):
    stops = [signal.SIGINT, signal.SIGTERM]
    processes = [executable("km3d_node") for _ in stops]
    for process, stop in zip(processes, stops, strict=True):
        bench.spin_until(lambda pid=process.pid: catches(pid, signal.SIGTERM))
        process.send_signal(stop)
        _, words = process.communicate(timeout=60)
        assert (process.returncode, words) == (0, "")


@STOP
def test_signal_stops_the_node_cleanly_in_every_state(bench, run, stop):
    states = ("unconfigured", "inactive", "active")
    steps = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
    nodes = [run(name, weights=bench.weights, autostart=False) for name in states]
    for count, name in enumerate(states):
        for step in steps[:count]:
            assert transition(bench, name, step)
        assert label(bench, name) == name
    show(bench, hear(bench, "active"))
    for node in nodes:
        node.send(stop)
    for node in nodes:
        code, words = node.end()
        assert stopped_cleanly(code, words), words


@STOP
def test_signal_stops_the_node_cleanly_while_it_loads_the_embedded_weights(bench, run, stop):
    name = f"loading_{stop.name.lower()}"
    node = run(name)
    bench.spin_until(lambda: name in bench.peer.get_node_names())
    node.send(stop)
    code, words = node.end()
    assert stopped_cleanly(code, words), words
    assert "[ERROR]" not in words


# Nav2's lifecycle manager.


def test_nav2_manager_starts_pauses_resets_and_shuts_down_two_nodes(bench, run):
    names = ["front_detector", "rear_detector"]
    nodes = [run(name, weights=bench.weights, backend="torch", autostart=False) for name in names]
    heard = [hear(bench, name) for name in names]
    manager = LifecycleManager(bench, names)
    assert manager.startup()
    for command, expected in (
        (manager.pause, "inactive"),
        (manager.resume, "active"),
        (manager.reset, "unconfigured"),
        (manager.startup, "active"),
    ):
        assert command()
        assert [label(bench, name) for name in names] == [expected, expected]
        if expected == "active":
            for received in heard:
                show(bench, received)
    assert manager.shutdown()
    assert [label(bench, name) for name in names] == ["finalized", "finalized"]
    for node in nodes:
        node.send(signal.SIGINT)
        code, words = node.end()
        assert stopped_cleanly(code, words), words


def test_nav2_manager_is_refused_by_unusable_weights_and_starts_usable_ones(bench, run, tmp_path):
    run(weights=tmp_path / "none.safetensors", backend="torch", autostart=False)
    manager = LifecycleManager(bench, ["km3d"])
    assert not manager.startup()
    assert not manager.reset()  # of an unconfigured node
    assert label(bench, "km3d") == "unconfigured"
    usable = Parameter(name="weights", value=ParameterValue(type=4, string_value=bench.weights))
    request = SetParameters.Request(parameters=[usable])
    assert bench.call(SetParameters, "/km3d/set_parameters", request).results[0].successful
    assert manager.startup()
    show(bench, hear(bench))


# Bad starts.


def test_help_lists_topics_and_parameters(executable):
    process = executable("km3d_node", "--help")
    words, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    for expected in ("camera_info", "~/detections", "score_threshold (0.15)", "Example:"):
        assert expected in words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--ros-args", "--params-file", "none.yaml"], "Couldn't parse params file: .*none.yaml"),
        (
            ["--params-file", "none.yaml"],
            "unknown arguments: --params-file none.yaml; ",
        ),
    ],
)
def test_wrong_arguments_end_the_process_with_one_line(executable, arguments, expected):
    process = executable("km3d_node", *arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    (line,) = errors.strip().splitlines()
    assert re.match(f"km3d_node: .*{expected}", line)


def test_unusable_weights_end_an_autostarted_process_with_one_line(run, tmp_path):
    code, words = run(weights=tmp_path / "none.safetensors").end()
    assert code == 1
    (line,) = words.strip().splitlines()
    assert "cannot configure: " in line
    assert "none.safetensors" in line


def test_value_out_of_range_ends_the_process_with_the_rule(run):
    code, words = run(max_detections=0).end()
    assert code == 1
    (line,) = words.strip().splitlines()
    assert "max_detections out of range. Min: 1, Max: 100, value: 0" in line


# Peers.


def test_parameter_of_a_type_that_there_is_not_does_not_end_the_node(bench, run):
    run(weights=bench.weights, backend="torch")
    received = hear(bench)
    client = bench.peer.create_client(SetParameters, "/km3d/set_parameters")
    bench.spin_until(client.service_is_ready)
    nonsense = Parameter(name="max_detections", value=ParameterValue(type=UNKNOWN_TYPE))
    client.call_async(SetParameters.Request(parameters=[nonsense]))
    sense = Parameter(name="max_detections", value=ParameterValue(type=2, integer_value=7))
    request = SetParameters.Request(parameters=[sense])
    response = bench.call(SetParameters, "/km3d/set_parameters", request)
    assert response.results[0].successful
    show(bench, received)


def test_node_that_was_killed_is_followed_by_a_new_one(bench, run):
    received = hear(bench)
    for _ in range(2):
        node = run(weights=bench.weights, backend="torch")
        show(bench, received)
        node.send(signal.SIGKILL)
        assert node.end()[0] == -signal.SIGKILL
