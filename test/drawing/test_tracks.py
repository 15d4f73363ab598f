import numpy as np
import pytest
from support.drawn_boxes import boxes

from km3d_ros.drawing.from_above import draw_bev
from km3d_ros.drawing.tracks import Track, draw_tracks_on_image
from km3d_ros.geometry.camera import CameraModel

CAMERA = CameraModel.from_projection(
    np.array([[400.0, 0, 200, 0], [0, 400, 100, 0], [0, 0, 1, 0]]), 400, 200
)
WHITE = 100
"""Least value of a pixel that is drawn."""


def track(center=(0.0, 1.0, 20.0), velocity=(0.0, 0.0, 0.0), trail=()) -> Track:
    places = np.array([*trail, center], float).reshape(-1, 3)
    return Track(7, 0, np.array(center, float), np.array(velocity, float), 1.5, places)


def on_image(*tracks: Track) -> np.ndarray:
    canvas = np.zeros((200, 400, 3), np.uint8)
    draw_tracks_on_image(canvas, tracks, CAMERA)
    return canvas


def from_above(*tracks: Track) -> np.ndarray:
    """Pixels that the tracks change; 5 pixels are one metre, with the camera at (200, 376)."""
    none = boxes()
    pictures = [
        draw_bev(none, CAMERA, ("Car",), size=(400, 400), range=75.4, tracks=t)
        for t in ((), tracks)
    ]
    return (pictures[0] != pictures[1]).any(-1)


def test_number_stands_on_the_object():
    white = np.argwhere((on_image(track()) > WHITE).all(-1))
    assert len(white) > 5
    # 1 m below the camera in 20 m: 20 pixels below the centre of the image.
    assert white.mean(0) == pytest.approx((120, 200), abs=2)


def test_arrow_is_the_way_of_one_second_on_the_ground():
    white = (on_image(track(velocity=(5.0, 0.0, 0.0))) > WHITE).all(-1)
    rows, columns = np.nonzero(white)
    # From the foot of the box (1.75 m below the camera, row 135) to 5 m to the right.
    assert columns.max() == pytest.approx(300, abs=2)
    assert rows[columns > 230].mean() == pytest.approx(135, abs=2)


@pytest.mark.parametrize(
    "hidden", [track(center=(0.0, 1.0, -5.0)), track(center=(0.0, 1.0, 0.0), velocity=(0, 0, 9.0))]
)
def test_object_behind_the_camera_is_not_drawn(hidden):
    assert not on_image(hidden).any()


def test_object_that_drives_out_of_view_has_a_number_and_no_arrow():
    still = on_image(track())
    np.testing.assert_array_equal(on_image(track(velocity=(0.0, 0.0, -30.0))), still)


def test_trail_and_arrow_from_above():
    still = from_above(track())
    trail = from_above(track(trail=[(-10.0, 1.0, 20.0)])) & ~still
    arrow = from_above(track(velocity=(0.0, 0.0, 10.0))) & ~still
    scale = 400 / (75.4 * 1.06)
    rows, columns = np.nonzero(trail)
    assert columns.min() == pytest.approx(200 - 10 * scale, abs=3)
    rows_of_arrow, _ = np.nonzero(arrow)
    assert rows_of_arrow.min() == pytest.approx(rows.mean() - 10 * scale, abs=3)


def test_nothing_is_drawn_without_tracks():
    assert not on_image().any()
    assert not from_above().any()
