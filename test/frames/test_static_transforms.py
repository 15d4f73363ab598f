from types import SimpleNamespace

import numpy as np
import pytest

from km3d_ros.errors import InputError
from km3d_ros.frames.static_transforms import StaticTransforms
from km3d_ros.geometry.pose import Pose


def at(x: float, yaw: float = 0.0) -> Pose:
    return Pose.of((0, 0, np.sin(yaw / 2), np.cos(yaw / 2)), (x, 0.0, 0.0))


def linked(*links: tuple[str, str, Pose]) -> StaticTransforms:
    transforms = StaticTransforms()
    for link in links:
        transforms = transforms.with_pose(*link)
    return transforms


def test_a_chain_of_static_transforms():
    transforms = linked(("base_link", "mast", at(1.0, np.pi / 2)), ("/mast", "camera", at(2.0)))
    pose = transforms.pose("base_link", "/camera")
    assert pose.translation == pytest.approx((1.0, 2.0, 0.0))
    assert pose.rotation @ (1, 0, 0) == pytest.approx((0, 1, 0))
    back = transforms.pose("camera", "base_link")
    assert (back @ pose).translation == pytest.approx((0, 0, 0))


def test_two_branches_of_static_transforms():
    transforms = linked(("base_link", "left", at(1.0)), ("base_link", "right", at(3.0)))
    assert transforms.pose("left", "right").translation == pytest.approx((2.0, 0, 0))


def test_a_message_replaces_older_transforms():
    vector = SimpleNamespace(x=5.0, y=0.0, z=0.0)
    message = SimpleNamespace(
        transforms=[
            SimpleNamespace(
                header=SimpleNamespace(frame_id="base_link"),
                child_frame_id="left",
                transform=SimpleNamespace(
                    rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0), translation=vector
                ),
            )
        ]
    )
    before = linked(("base_link", "left", at(1.0)))
    after = before.with_those_of(message)
    assert after.pose("base_link", "left").translation.tolist() == [5, 0, 0]
    assert before.pose("base_link", "left").translation.tolist() == [1, 0, 0]

    vector.y = float("nan")
    with pytest.raises(
        InputError, match=r"static transform from base_link to left: translation .* is not finite"
    ):
        before.with_those_of(message).pose("base_link", "left")


def test_a_frame_that_is_not_connected():
    transforms = linked(("base_link", "left", at(1.0)))
    with pytest.raises(InputError, match=r"from base_link to nose; .*: base_link, left$"):
        transforms.pose("base_link", "nose")
    assert transforms.pose("nose", "nose").translation.tolist() == [0, 0, 0]
