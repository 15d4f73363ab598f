import pytest
import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor

from km3d_ros.demo import session
from km3d_ros.errors import InputError


def test_node_that_cannot_start_ends_the_session_with_its_last_words(tmp_path):
    weights = tmp_path / "none.safetensors"
    with pytest.raises(InputError, match=r"the node ended with code 1: .*none\.safetensors"):
        session.run(tmp_path / "input.mcap", tmp_path / "drive.mcap", 1, weights)
    assert not (tmp_path / "drive.mcap").exists()


def test_response_that_is_lost_is_asked_for_again(monkeypatch):
    """A response that is sent before the node has found its client is lost."""
    monkeypatch.setattr(session, "RETRY", 0.1)
    monkeypatch.setattr(session, "START_PATIENCE", 10.0)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("demo", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    requests = []

    def active(request, response):
        requests.append(request)
        response.current_state.id = State.PRIMARY_STATE_ACTIVE
        return response

    service = node.create_service(GetState, "/km3d/get_state", active)
    send = service.send_response
    monkeypatch.setattr(
        service, "send_response", lambda *given: len(requests) > 1 and send(*given)
    )
    session._wait_until_active(node, "km3d", lambda: executor.spin_once(timeout_sec=0.05))
    assert len(requests) == 2
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)
