import json
import math
import re
from pathlib import Path

import pytest
import torch

from km3d_ros.data.kitti_labels import read_results, write_objects
from km3d_ros.errors import InputError
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.formats import read_records, to_json, to_kitti, to_records

CLASSES = ("Car", "Pedestrian")
KEYPOINTS = torch.arange(18.0).reshape(1, 9, 2)
DETECTIONS = Detections(
    class_index=torch.tensor([1]),
    score=torch.tensor([0.1]),
    peak_score=torch.tensor([0.5]),
    confidence=torch.tensor([0.2]),
    depth_error=torch.tensor([0.0625]),
    box2d=torch.tensor([[1.0, 2.0, 3.0, 4.0]]),
    keypoints=KEYPOINTS,
    size=torch.tensor([[0.8, 0.6, 1.7]]),
    center=torch.tensor([[1.0, 0.5, 20.0]]),
    yaw=torch.tensor([math.pi / 4]),
    alpha=torch.tensor([0.25]),
    covariance=torch.eye(4)[None],
    reprojection_error=torch.tensor([1.5]),
)


def test_records_have_every_number_in_full():
    (record,) = to_records(DETECTIONS, CLASSES)
    assert record == {
        "class_name": "Pedestrian",
        "score": pytest.approx(0.1, abs=1e-8),
        "peak_score": 0.5,
        "confidence": pytest.approx(0.2, abs=1e-8),
        "depth_error": 0.0625,
        "box2d": [1, 2, 3, 4],
        "keypoints": KEYPOINTS[0].tolist(),
        "size": pytest.approx([0.8, 0.6, 1.7]),
        "center": [1, 0.5, 20],
        "yaw": DETECTIONS.yaw.item(),
        "alpha": 0.25,
        "covariance": torch.eye(4).tolist(),
    }


def test_result_files_read_back_as_the_detections(tmp_path):
    write_objects(tmp_path / "0.txt", to_kitti(DETECTIONS, CLASSES))
    (item,) = read_results(tmp_path / "0.txt")
    assert (item.class_name, item.truncation, item.occlusion) == ("Pedestrian", -1, -1)
    assert item.score == pytest.approx(0.1, abs=1e-6)
    assert item.box2d == (1, 2, 3, 4)
    assert item.size == pytest.approx((0.8, 0.6, 1.7))
    assert item.center == pytest.approx((1, 0.5, 20))
    assert item.yaw == pytest.approx(math.pi / 4, abs=1e-4)


GOOD = {"image": "a.png", "detections": to_records(DETECTIONS, CLASSES)}


def changed(**values):
    """A line of which one detection has other values."""
    return json.dumps(GOOD | {"detections": [GOOD["detections"][0] | values]})


@pytest.mark.parametrize(
    "line",
    [
        changed(class_name=5),
        changed(score="high"),
        changed(score=math.nan),
        changed(score=True),
        changed(box2d=[1, 2, 3]),
        changed(center=[1, 2, None]),
        changed(size=[[1, 2, 3]]),
        changed(yaw=[0]),
        changed(alpha=10**400),
        changed(covariance=[[1] * 4] * 3),
        changed(covariance=[[math.inf] * 4] * 4),
        "[" * 100_000,
        "9" * 10_000,
        "no JSON",
        "3",
        '{"detections": []}',
        '{"image": "0.png", "detections": [3]}',
        '{"image": "0.png", "detections": [{"class_name": "Car"}]}',
        "\xff",
    ],
)
def test_bad_line_of_records_is_named(tmp_path, line):
    path = tmp_path / "detections.jsonl"
    good = json.dumps(GOOD)
    path.write_text(f"{good}\n")
    assert read_records(path)["a"][0]["alpha"] == 0.25
    path.write_bytes(f"{good}\n{line}\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"detections\.jsonl:2: not a line of"):
        read_records(path)


def test_no_detections_are_no_records():
    assert to_records(DETECTIONS[:0], CLASSES) == []
    assert to_kitti(DETECTIONS[:0], CLASSES) == []


def test_json_has_no_numbers_that_json_does_not_know():
    table = {"a": [1.5, math.inf, (math.nan, -math.inf)], "b": {"c": math.nan, "d": 3}}
    assert json.loads(to_json(table)) == {"a": [1.5, None, [None, None]], "b": {"c": None, "d": 3}}


def test_records_have_canonical_class_names(tmp_path):
    (record,) = to_records(DETECTIONS, ("car", "forklift"))
    path = tmp_path / "detections.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"image": "a.png", "detections": [record]}).encode()
    )
    assert read_records(path, ("Forklift",))["a"][0]["class_name"] == "Forklift"


def test_every_key_of_a_record_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    keys = re.findall(r"^\| `(\w+)` \|", page.partition("## Keys")[2], re.MULTILINE)
    assert set(keys) == set(to_records(DETECTIONS, CLASSES)[0])
