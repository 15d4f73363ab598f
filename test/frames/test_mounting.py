import math
from types import SimpleNamespace

import numpy as np
import pytest

from km3d_ros.errors import InputError
from km3d_ros.frames.mounting import Mounting
from km3d_ros.geometry.level import level_from_angles

STRAIGHT = (-0.5, 0.5, -0.5, 0.5)
"""From an optical frame (z ahead, y down) to its body (x ahead, z up)."""


def pitched(angle):
    """x, y, z, w of a rotation about y: down where the angle is positive."""
    return (0.0, math.sin(angle / 2), 0.0, math.cos(angle / 2))


def transform(parent, child, turn):
    x, y, z, w = turn
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=parent),
        child_frame_id=child,
        transform=SimpleNamespace(
            rotation=SimpleNamespace(x=x, y=y, z=z, w=w),
            translation=SimpleNamespace(x=0.0, y=0.0, z=0.0),
        ),
    )


def message(*transforms):
    return SimpleNamespace(transforms=[transform(*values) for values in transforms])


def rig(pitch):
    """A vehicle's frames down to the optical one of a camera that looks down by an angle."""
    return message(
        ("base_link", "mast", pitched(0.0)),
        ("mast", "camera", pitched(pitch)),
        ("camera", "camera_optical", STRAIGHT),
    )


def test_fixed_angles_count_for_every_frame():
    mounting = Mounting(pitch=0.1, roll=-0.02)
    for frame in ("camera", ""):
        mount = mounting.of(frame)
        np.testing.assert_array_equal(mount.level, level_from_angles(0.1, -0.02))
        assert (str(mount), mount.problem) == ("pitch 5.7°, roll -1.1°", "")
    assert str(Mounting().of("camera")) == "pitch 0.0°, roll 0.0°"


def test_chain_of_static_transforms_gives_pitch_and_roll():
    mounting = Mounting("base_link")
    mounting.add(rig(0.2))
    mount = mounting.of("camera_optical")
    assert mount.problem == ""
    np.testing.assert_allclose(mount.level, level_from_angles(0.2, 0.0), atol=1e-12)


def test_transforms_of_several_publishers_add_up():
    mounting = Mounting("base_link")
    for item in rig(0.2).transforms:
        mounting.of("camera_optical")
        mounting.add(SimpleNamespace(transforms=[item]))
    np.testing.assert_allclose(
        mounting.of("camera_optical").level, level_from_angles(0.2, 0.0), atol=1e-12
    )


def test_base_frame_may_be_beside_or_below_the_camera():
    mounting = Mounting("lidar")
    mounting.add(rig(0.2))
    mounting.add(message(("mast", "lidar", pitched(-0.1))))
    np.testing.assert_allclose(
        mounting.of("camera_optical").level, level_from_angles(0.3, 0.0), atol=1e-12
    )
    # The camera as the root, as calibrations of a rig by its first camera are written.
    upside = Mounting("base")
    upside.add(message(("optical", "base", (0.5, -0.5, 0.5, 0.5))))
    np.testing.assert_allclose(upside.of("optical").level, np.eye(3), atol=1e-12)


def test_slashes_of_ros_1_before_names_do_not_count():
    mounting = Mounting("/base_link")
    mounting.add(message(("/base_link", "/camera", STRAIGHT)))
    assert mounting.of("camera").problem == mounting.of("/camera").problem == ""


def test_newer_transform_replaces_the_older_one():
    mounting = Mounting("base_link")
    mounting.add(rig(0.2))
    assert str(mounting.of("camera_optical")) == "pitch 11.5°, roll 0.0°"
    mounting.add(message(("mast", "camera", pitched(0.1))))
    assert str(mounting.of("camera_optical")) == "pitch 5.7°, roll 0.0°"


@pytest.mark.parametrize(
    ("transforms", "problem"),
    [
        ([], "no static transform from base_link to camera; /tf_static has none"),
        (
            [("base", "camera", STRAIGHT)],
            "no static transform from base_link to camera; frames with static transforms: base, "
            "camera",
        ),
        (
            [("base_link", f"wheel_{k}", STRAIGHT) for k in range(9)],
            "no static transform from base_link to camera; frames with static transforms: "
            "base_link, wheel_0, wheel_1, wheel_2, wheel_3, wheel_4, …",
        ),
        (
            [("base_link", "camera", (0.0, 0.0, 0.0, 0.0))],
            "static transform from base_link to camera: quaternion (0, 0, 0, 0) is no rotation: "
            "norm 0",
        ),
        (
            [("mast", "camera", STRAIGHT), ("camera", "mast", STRAIGHT)],
            "static transforms form a loop: camera <- mast <- camera",
        ),
    ],
    ids=["none", "other names", "many names", "no rotation", "loop"],
)
def test_camera_without_valid_transform_counts_as_level_or_is_refused(transforms, problem):
    mounting = Mounting("base_link")
    mounting.add(message(*transforms))
    mount = mounting.of("camera")
    assert mount.problem == problem
    np.testing.assert_array_equal(mount.level, np.eye(3))

    mounting = Mounting("base_link", required=True)
    mounting.add(message(*transforms))
    with pytest.raises(InputError) as refused:
        mounting.of("camera")
    assert str(refused.value) == problem


@pytest.mark.parametrize("required", [False, True])
def test_camera_that_looks_at_the_ground_is_refused(required):
    mounting = Mounting("base_link", required=required)
    mounting.add(rig(math.radians(70)))
    with pytest.raises(
        InputError, match="camera_optical in base_link: the camera looks 70° below"
    ):
        mounting.of("camera_optical")


def test_body_of_a_camera_instead_of_its_optical_frame_is_refused():
    mounting = Mounting("base_link")
    mounting.add(rig(0.1))
    with pytest.raises(InputError, match="is it an optical frame"):
        mounting.of("camera")


@pytest.mark.parametrize("angles", [{"pitch": 0.1}, {"roll": -0.1}, {"pitch": 0.1, "roll": 0.1}])
def test_frame_and_angles_exclude_each_other(angles):
    with pytest.raises(InputError, match="base_frame is 'base_link' and the camera's angles are"):
        Mounting("base_link", **angles)


def test_impossible_angles_are_refused():
    with pytest.raises(InputError, match="86° below the horizon"):
        Mounting(pitch=1.5)
