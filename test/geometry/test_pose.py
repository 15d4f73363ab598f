import numpy as np
import pytest

from km3d_ros.errors import InputError
from km3d_ros.geometry.pose import Pose

LEFT = (0, 0, np.sqrt(0.5), np.sqrt(0.5))
"""A quarter turn about z."""


def test_poses_of_a_chain_of_frames_are_multiplied():
    first, second = Pose.of(LEFT, (1, 0, 0)), Pose.of((0, 0, 0, 1), (2, 0, 0))
    chain = first @ second
    assert chain.translation == pytest.approx((1, 2, 0))
    assert chain.rotation @ (1, 0, 0) == pytest.approx((0, 1, 0))


def test_inverse_leads_back():
    pose = Pose.of(LEFT, (1, 2, 3))
    for back in (pose.inverse() @ pose, pose @ pose.inverse()):
        np.testing.assert_allclose(back.rotation, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(back.translation, 0, atol=1e-12)


@pytest.mark.parametrize(
    ("quaternion", "translation", "message"),
    [
        ((0, 0, 0, 0), (1, 2, 3), "norm 0"),
        ((0, 0, 0, np.nan), (1, 2, 3), "norm nan"),
        ((0, 0, 0, 1), (1, np.nan, 3), "translation .* is not finite"),
        ((0, 0, 0, 1), (1, np.inf, 3), "translation .* is not finite"),
    ],
)
def test_numbers_that_are_no_pose_are_refused(quaternion, translation, message):
    with pytest.raises(InputError, match=message):
        Pose.of(quaternion, translation)
