import pytest

from km3d_ros.demo import session
from km3d_ros.errors import InputError


def test_node_that_cannot_start_ends_the_session_with_its_last_words(tmp_path):
    weights = tmp_path / "none.safetensors"
    with pytest.raises(InputError, match=r"the node ended with code 1: .*none\.safetensors"):
        session.run(tmp_path / "input.mcap", tmp_path / "drive.mcap", 1, weights)
    assert not (tmp_path / "drive.mcap").exists()
