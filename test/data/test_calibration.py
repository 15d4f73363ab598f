import numpy as np
import pytest

from km3d_ros.data.calibration import read_projection, write_calibration
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel

PROJECTION = np.array([[721.5, 0, 609.6, 44.9], [0, 721.5, 172.9, 0.22], [0, 0, 1, 0.003]])


def test_calibration_reads_back_exactly(tmp_path):
    projection = np.where(PROJECTION > 1, PROJECTION + 1 / 3, PROJECTION)
    write_calibration(tmp_path / "calib.txt", projection)
    np.testing.assert_array_equal(read_projection(tmp_path / "calib.txt"), projection)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("P0: 1 2 3\n", r"calib\.txt: no P2 in this calibration file"),
        ("P0: 1\nP2: 1 2 3\n", r"calib\.txt:2: P2 has 3 numbers, not 12"),
        ("P2: 1 2 3 4 5 6 7 8 9 10 11 x\n", r"calib\.txt:1: 'x' is not a number"),
        ("P2: 0 0 0 0 0 0 0 0 0 0 1 0\n", r"calib\.txt:1: P2 is not the K \[I \| t\]"),
        ("P2: 7 1 3 0 0 7 2 0 0 0 1 0\n", r"calib\.txt:1: P2 is not the K \[I \| t\]"),
        ("P2: 7 0 3 0 0 7 2 0 0 0 0.5 0\n", r"calib\.txt:1: P2 is not the K \[I \| t\]"),
    ],
)
def test_bad_calibration_is_named(tmp_path, text, message):
    path = tmp_path / "calib.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_projection(path)


@pytest.mark.parametrize("skew", [-0.236, 2.8])
def test_skewed_projection_is_read_as_any_camera_takes_it(tmp_path, skew):
    path = tmp_path / "calib.txt"
    matrix = np.array([[721.5, skew, 609.6, 44.9], [0, 721.5, 172.9, 0.2], [0, 0, 1, 0.003]])
    write_calibration(path, matrix)
    np.testing.assert_array_equal(read_projection(path), matrix)
    np.testing.assert_allclose(
        CameraModel.from_projection(read_projection(path), 1242, 375).projection, matrix
    )


def test_projections_are_found_by_name_in_both_calibration_formats(tmp_path):
    path = tmp_path / "calib.txt"
    numbers = "700 0 600 {} 0 700 180 0 0 0 1 0"
    path.write_text(f"P2: {numbers.format(44)}\nP3: {numbers.format(-340)}\n")
    assert [read_projection(path, name)[0, 3] for name in ("P2", "P3")] == [44, -340]
    path.write_text(
        "calib_time: 09-Jan-2012 13:57:47\nS_rect_02: 1242 375\n"
        f"P_rect_02: {numbers.format(45)}\nP_rect_03: {numbers.format(-339)}\n"
    )
    assert [read_projection(path, name)[0, 3] for name in ("P2", "P3")] == [45, -339]
    with pytest.raises(InputError, match='no P0 in this calibration file; expected a line "P0: '):
        read_projection(path, "P0")


@pytest.mark.parametrize("focal", [1, 0.58])
def test_projection_that_is_not_in_pixels_is_refused(tmp_path, focal):
    path = tmp_path / "calib.txt"
    path.write_text(f"P2: {focal} 0 0 0 0 {focal} 0 0 0 0 1 0\n")
    with pytest.raises(InputError, match=rf"calib\.txt:1: P2 has a focal length of {focal}, "):
        read_projection(path)
