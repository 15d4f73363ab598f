import pytest
from support.frames import car_at as car

from km3d_ros.evaluation.recall import FALSE_POSITIVES, RECALL, recall_figures


def test_recall_is_the_part_of_the_moderate_objects_that_are_found():
    truth = [[car(0, 10.0), car(200, 12.0), car(400, 20.0)], [car(0, 12.0), car(200, 60.0)]]
    results = [[car(0, 99.0, 0.9), car(250, 12.0, 0.9), car(410, 20.0, 0.2)], []]
    assert recall_figures(truth, results)[RECALL]["Car"] == {
        "0-15": pytest.approx(1 / 3),
        "15-30": 1.0,
        "30-50": None,
    }


def test_objects_that_need_not_be_found_do_not_count():
    hidden, small = car(0, 10.0, occlusion=2), car(200, 10.0, box2d=(200.0, 0.0, 300.0, 24.0))
    other = car(400, 10.0, name="Pedestrian")
    figures = recall_figures([[hidden, small, other]], [[]])
    assert figures[RECALL]["Car"]["0-15"] is None
    assert figures[RECALL]["Pedestrian"]["0-15"] == 0


def test_false_positives_are_results_where_nothing_is_labelled():
    region = car(600, -1000.0, name="DontCare", size=(-1, -1, -1))
    truth = [[car(0, 10.0), car(200, 10.0, name="Van"), region], []]
    nearby, apart = car(85, 10.0, 0.9), car(95, 10.0, 0.9)
    on_labels = [car(0, 10.0, 0.9), car(210, 10.0, 0.9), car(610, 10.0, 0.9), nearby]
    figures = recall_figures(truth, [[*on_labels, apart], [car(0, 10.0, 0.9, "Cyclist")]])
    assert figures[FALSE_POSITIVES] == {"Car": 0.5, "Pedestrian": 0, "Cyclist": 0.5}
