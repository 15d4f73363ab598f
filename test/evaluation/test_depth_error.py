from dataclasses import replace

import pytest
from support.frames import car_at as car

from km3d_ros.evaluation.depth_error import median_relative_depth_error
from km3d_ros.evaluation.recall import recall_figures
from km3d_ros.evaluation.report import BIAS, MEDIAN, as_text, depth_figures


def test_error_is_the_median_of_each_band():
    truth = [[car(0, 10.0), car(200, 20.0), car(400, 29.0)], [car(0, 25.0), car(200, 60.0)]]
    results = [
        [car(400, 29.0 * 1.3, 0.9), car(0, 10.5, 0.9), car(205, 21.0, 0.9)],
        [car(0, 25.0 * 0.9, 0.5), car(200, 90.0, 0.5)],
    ]
    errors = median_relative_depth_error(truth, results)
    assert errors == {
        "0-15": pytest.approx(0.05),
        "15-30": pytest.approx(0.1),
        "30-50": None,
    }


def test_car_is_paired_with_the_better_scored_result_only():
    truth = [[car(0, 10.0)]]
    results = [[car(0, 20.0, 0.2), car(1, 11.0, 0.9)]]
    assert median_relative_depth_error(truth, results)["0-15"] == pytest.approx(0.1)


def test_far_off_boxes_and_other_classes_are_not_paired():
    truth = [[car(0, 10.0), car(200, 10.0, name="Van")]]
    results = [[car(60, 11.0, 0.9), car(200, 11.0, 0.9), replace(truth[0][0], class_name="Van")]]
    results[0][2] = replace(results[0][2], score=0.3)
    assert median_relative_depth_error(truth, results)["0-15"] is None


def test_objects_that_are_only_known_in_the_image_are_left_out():
    flat = replace(car(0, -1000.0), size=(-1, -1, -1))
    truth = [[flat, car(200, 10.0), car(400, 10.0)]]
    results = [[car(0, 11.0, 0.9), car(200, 11.0, 0.9), replace(car(400, 0, 0.9), size=flat.size)]]
    assert median_relative_depth_error(truth, results)["0-15"] == pytest.approx(0.1)


def test_bias_keeps_the_sign_and_the_classes_apart():
    truth = [[car(0, 10.0), car(200, 10.0), car(400, 10.0), car(600, 20.0, name="Cyclist")]]
    found = [car(0, 9.0, 0.9), car(200, 9.5, 0.9), car(400, 12.0, 0.9)]
    figures = depth_figures(truth, [[*found, car(600, 22.0, 0.9, "Cyclist")]])
    assert figures[BIAS]["Car"]["0-15"] == pytest.approx(-0.05)
    assert figures[MEDIAN]["Car"]["0-15"] == pytest.approx(0.1)
    assert figures[BIAS]["Cyclist"] == {"0-15": None, "15-30": pytest.approx(0.1), "30-50": None}
    cars, _, cyclists = as_text({}, figures, recall_figures(truth, [[]]), {}).splitlines()[3:6]
    assert cars.split() == ["Car", "10.0", "%", "-", "-", "-5.0", "%", "-", "-"]
    assert cyclists.split() == ["Cyclist", "-", "10.0", "%", "-", "-", "+10.0", "%", "-"]


def test_no_frames_have_no_errors():
    assert median_relative_depth_error([], []) == {"0-15": None, "15-30": None, "30-50": None}
