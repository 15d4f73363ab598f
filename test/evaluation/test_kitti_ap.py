import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from km3d_ros.data.kitti_labels import KittiObject, read_labels, read_results
from km3d_ros.evaluation.kitti_ap import evaluate

OFFICIAL = Path(__file__).parent / "official"

CAR = KittiObject(
    class_name="Car",
    truncation=0.0,
    occlusion=0,
    alpha=0.5,
    box2d=(100.0, 100.0, 200.0, 150.0),
    size=(4.0, 2.0, 1.5),
    center=(0.0, 1.0, 20.0),
    yaw=0.5,
)
FRAMES = 80


def truth(item=CAR):
    return [[item] for _ in range(FRAMES)]


def found(item=CAR):
    return [[replace(item, score=1 - i / 100)] for i in range(FRAMES)]


def percent(table, metric, name="Car", sampling="R40"):
    return table[name][metric][sampling]


@pytest.mark.parametrize(("iou", "key"), [(None, "default"), (0.25, "0.25")])
def test_equals_the_official_evaluator(iou, key):
    """The official program (kitti_eval) gave the expected values.

    The labels have values on every limit of the difficulties, and the results tied scores,
    duplicates, neighbouring classes, parts of DontCare regions, an empty and a missing file.
    """
    paths = sorted((OFFICIAL / "labels").glob("*.txt"))
    results = [OFFICIAL / "results" / path.name for path in paths]
    table = evaluate(
        [read_labels(path) for path in paths],
        [read_results(path) if path.exists() else [] for path in results],
        iou,
    )
    expected = json.loads((OFFICIAL / "expected.json").read_text())[key]
    assert {name: list(metrics) for name, metrics in expected.items()} == {
        name: list(metrics) for name, metrics in table.items()
    }
    for name, metrics in expected.items():
        for metric, samplings in metrics.items():
            for sampling, values in samplings.items():
                assert table[name][metric][sampling] == pytest.approx(values, abs=1e-6)


def test_perfect_results_reach_one_hundred_percent():
    table = evaluate(truth(), found())
    for metric in ("2d", "aos", "bev", "3d"):
        for sampling in ("R11", "R40"):
            assert percent(table, metric, sampling=sampling) == pytest.approx([100] * 3)


def test_class_without_ground_truth_has_no_precision():
    results = [[*items, replace(CAR, class_name="Cyclist", score=0.5)] for items in found()]
    for sampling in ("R11", "R40"):
        assert percent(evaluate(truth(), results), "3d", "Cyclist", sampling) == [None] * 3


def test_nothing_to_evaluate_has_no_precision():
    assert percent(evaluate([], []), "2d") == [None] * 3
    assert percent(evaluate([[], []], [[], []]), "2d") == [None] * 3


def test_labelled_objects_that_are_not_found_have_zero_percent():
    assert percent(evaluate(truth(), [[] for _ in truth()]), "2d") == [0, 0, 0]


def test_frames_without_results_are_misses():
    results = [objects if i % 2 else [] for i, objects in enumerate(found())]
    table = evaluate(truth(), results)
    assert percent(table, "3d") == pytest.approx([50] * 3)
    assert percent(table, "3d", sampling="R11") == pytest.approx([100 * 6 / 11] * 3)


def test_false_positives_with_the_same_scores_halve_the_precision():
    results = [
        [item, replace(item, box2d=(300.0, 100.0, 400.0, 150.0), center=(9.0, 1.0, 20.0))]
        for (item,) in found()
    ]
    assert percent(evaluate(truth(), results), "bev") == pytest.approx([50] * 3)


def test_opposite_orientation_has_no_similarity():
    table = evaluate(truth(), found(replace(CAR, alpha=CAR.alpha - math.pi)))
    assert percent(table, "2d") == pytest.approx([100] * 3)
    assert percent(table, "aos") == pytest.approx([0] * 3)


def test_results_without_orientation_have_no_aos():
    table = evaluate(truth(), found(replace(CAR, alpha=-10)))
    assert list(table["Car"]) == ["2d", "bev", "3d"]


def test_height_error_counts_in_3d_only():
    table = evaluate(truth(), found(replace(CAR, center=(0.0, 2.0, 20.0))))
    assert percent(table, "bev") == pytest.approx([100] * 3)
    assert percent(table, "3d") == [0, 0, 0]


def test_overlap_on_the_limit_is_no_match():
    half = found(replace(CAR, box2d=(100.0, 100.0, 200.0, 125.0)))
    tall = truth(replace(CAR, box2d=(100.0, 100.0, 200.0, 150.0)))
    assert percent(evaluate(tall, half, iou=0.5), "2d")[1] == 0
    assert percent(evaluate(tall, half, iou=0.499), "2d")[1] == pytest.approx(100)


@pytest.mark.parametrize(("name", "neighbour"), [("Car", "Van"), ("Pedestrian", "Person_sitting")])
def test_neighbouring_class_is_neither_missed_nor_wrong(name, neighbour):
    ground_truth = [[replace(CAR, class_name=name)] for _ in range(FRAMES)]
    other = replace(
        CAR, class_name=neighbour, box2d=(300.0, 100.0, 400.0, 150.0), center=(9.0, 1.0, 20.0)
    )
    results = found(replace(CAR, class_name=name))
    missed = evaluate([[*items, other] for items in ground_truth], results)
    assert percent(missed, "3d", name) == pytest.approx([100] * 3)
    taken = replace(other, class_name=name, score=1.0)
    wrong = evaluate([[*items, other] for items in ground_truth], [[*i, taken] for i in results])
    assert percent(wrong, "3d", name) == pytest.approx([100] * 3)


def test_limit_can_be_set_for_all_classes():
    shifted = found(replace(CAR, center=(1.0 * math.cos(0.5), 1.0, 20.0 - 1.0 * math.sin(0.5))))
    # One metre along four: overlap 3 / 5.
    assert percent(evaluate(truth(), shifted), "3d") == [0, 0, 0]
    assert percent(evaluate(truth(), shifted, iou=0.59), "3d") == pytest.approx([100] * 3)
    assert percent(evaluate(truth(), shifted, iou=0.61), "3d") == [0, 0, 0]


def without_3d(item, **changes):
    """An object of which only the 2D box is known."""
    return replace(item, size=(-1, -1, -1), center=(-1000,) * 3, yaw=-10, alpha=-10, **changes)


@pytest.mark.parametrize("unknown", [{"center": (-1000,) * 3}, {"center": (0.0, 1.0, 0.0)}, {}])
def test_object_that_is_labelled_in_the_image_alone_is_neutral_in_space(unknown):
    other = replace(CAR, box2d=(300.0, 100.0, 400.0, 150.0))
    flat = replace(other, **unknown) if unknown else without_3d(other)
    seen = replace(other, center=(9.0, 1.0, 20.0), score=1.0)
    table = evaluate([[*i, flat] for i in truth()], [[*i, seen] for i in found()])
    for metric in ("2d", "bev", "3d"):
        assert percent(table, metric) == pytest.approx([100] * 3)
    alone = evaluate([[flat] for _ in truth()], [[seen] for _ in truth()])
    assert percent(alone, "3d") == [None] * 3
    assert percent(alone, "2d") == pytest.approx([100] * 3)


def test_angle_that_a_label_does_not_have_comes_from_its_rotation():
    item = replace(CAR, center=(20.0, 1.0, 20.0), yaw=0.5 + math.pi / 4)
    table = evaluate(truth(replace(item, alpha=-10)), found(item))
    assert percent(table, "aos") == pytest.approx([100] * 3)
    flat = [[*items, without_3d(CAR)] for items in truth(item)]
    assert "aos" not in evaluate(flat, found(item))["Car"]


def test_any_class_is_evaluated_at_its_overlap():
    def table(iou):
        bus = replace(CAR, class_name="Bus")
        shifted = replace(bus, box2d=(100.0, 100.0, 200.0, 130.0))  # overlap 0.6
        return evaluate(truth(bus), found(shifted), iou, ("Bus", "Forklift"))

    assert list(table(None)) == ["Bus", "Forklift"]
    assert percent(table(None), "2d", "Bus")[1] == 0
    assert percent(table({"Bus": 0.59}), "2d", "Bus")[1] == pytest.approx(100)
    assert percent(table({"Forklift": 0.1}), "2d", "Bus")[1] == 0
