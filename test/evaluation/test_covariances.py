import math
from dataclasses import astuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.errors import InputError
from km3d_ros.evaluation.covariances import (
    Matched,
    coverage,
    figures,
    fit_and_judge,
    fit_noise,
    match,
    ranking,
    spearman,
    with_noise,
)
from km3d_ros.evaluation.validation import Findings
from km3d_ros.inference.decode import covariance
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.formats import to_records
from km3d_ros.network.spec import Noise

NOISE = Noise(sideways=0.07, upright=0.04, size=0.05, yaw=0.1, power=0.7)


def cars(count: int, noise: Noise, seed: int = 0, tails: bool = False) -> Matched:
    """Cars with errors of this noise and covariances of the default one.

    tails: the errors follow Student's distribution with five degrees of freedom.
    """
    rng = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(count, *shape, generator=rng, dtype=torch.float64)

    depth = 5 * 12 ** random()
    center = torch.stack(((random() - 0.5) * depth, random() + 0.5, depth), dim=1)
    size = torch.tensor([4.0, 1.7, 1.5]).double() * (0.9 + 0.2 * random(3))
    depth_error = 0.02 * 4 ** random()
    normal = torch.randn(count, 4, generator=rng, dtype=torch.float64)
    if tails:
        others = torch.randn(count, 5, generator=rng, dtype=torch.float64)
        normal = normal / others.square().mean(1, keepdim=True).sqrt()
    factor = torch.linalg.cholesky(covariance(center, size, depth_error, noise))
    error = (factor @ normal[..., None]).squeeze(-1)
    assumed = covariance(center, size, depth_error, Noise())
    return Matched(size, center, depth_error, assumed, error)


def test_a_known_noise_is_recovered():
    fitted = fit_noise(cars(4000, NOISE))
    assert astuple(fitted) == pytest.approx(astuple(NOISE), rel=0.1)


def test_fitted_noise_is_honest_on_objects_that_it_has_not_seen():
    fitted = fit_noise(cars(2000, NOISE, seed=1))
    others = cars(2000, NOISE, seed=2)
    for one, two in coverage(with_noise(others, fitted)).values():
        assert one == pytest.approx(68.3, abs=3)
        assert two == pytest.approx(95.4, abs=1.5)
    assert ranking(with_noise(others, fitted)) == pytest.approx(
        ranking(with_noise(others, NOISE)), abs=0.02
    )
    assert coverage(others)["yaw"][0] < 60


def test_heavy_tails_keep_both_shares_near_those_of_normal_errors():
    fitted = fit_noise(cars(5000, NOISE, seed=3, tails=True))
    others = with_noise(cars(5000, NOISE, seed=4, tails=True), fitted)
    for one, two in coverage(others).values():
        assert 67 < one < 72
        assert 92 < two < 96


def test_coverage_counts_errors_inside_one_and_two_deviations():
    error = torch.tensor([[0.5, 1.5, -2.5, 0.2], [-0.5, 0.5, 0.5, 0.3]]).double()
    ones = torch.ones(2).double()
    matched = Matched(
        torch.ones(2, 3), torch.ones(2, 3), ones, torch.eye(4).expand(2, 4, 4), error
    )
    assert coverage(matched) == {"x": [100, 100], "y": [50, 100], "z": [50, 50], "yaw": [100, 100]}
    assert figures(matched)["spearman"] is None


def test_spearman_correlates_ranks_and_shares_those_of_equal_values():
    a = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert spearman(a, a**3) == pytest.approx(1)
    assert spearman(a, -a.exp()) == pytest.approx(-1)
    assert spearman(a, torch.tensor([0.0, 0.0, 5.0, 5.0])) == pytest.approx(math.sqrt(0.8))


def label(center, yaw=0.5, box2d=(100.0, 100.0, 200.0, 150.0)) -> KittiObject:
    return KittiObject("Car", 0.0, 0, 0.0, box2d, (4.0, 1.8, 1.5), center, yaw)


def record(score, center, yaw=0.5, box2d=(100.0, 100.0, 200.0, 150.0)) -> dict:
    values = {
        "class_name": "Car",
        "score": score,
        "alpha": 0.0,
        "size": [4.1, 1.8, 1.5],
        "depth_error": score / 10,
    }
    covariance_rows = torch.diag(torch.tensor([1.0, 2, 3, 4])).tolist()
    return values | {"center": center, "yaw": yaw, "box2d": box2d, "covariance": covariance_rows}


def test_labels_are_matched_with_the_best_reported_detection_that_overlaps():
    truth = [[label((1.0, 1.0, 20.0), yaw=3.1)], [label((0.0, 1.0, 9.0))]]
    found = [
        [record(0.3, [9, 9, 9]), record(0.9, [1.5, 1.0, 21.0], yaw=-3.1)],
        [record(0.1, [0, 1, 9]), record(0.9, [0, 1, 9], box2d=(0.0, 0.0, 50.0, 50.0))],
    ]
    matched = match(truth, found, "Car")
    assert matched.depth_error.tolist() == [0.09]
    expected = torch.tensor([[0.5, 0, 1, 2 * math.pi - 6.2]]).double()
    torch.testing.assert_close(matched.error, expected)
    assert matched.covariance.diagonal(dim1=1, dim2=2).tolist() == [[1, 2, 3, 4]]
    assert len(match(truth, found, "Cyclist")) == 0
    assert figures(match([], [], "Car")) == {"objects": 0, "coverage": None, "spearman": None}


def detected(matched: Matched) -> Detections:
    """The first objects of `matched`, side by side in an image."""
    count = len(matched)
    left = 100.0 * torch.arange(count)
    zero = torch.zeros(count)
    return Detections(
        class_index=torch.zeros(count, dtype=torch.int64),
        score=torch.ones(count),
        peak_score=torch.ones(count),
        confidence=torch.ones(count),
        depth_error=matched.depth_error,
        box2d=torch.stack((left, zero, left + 50, zero + 50), dim=1),
        keypoints=torch.zeros(count, 9, 2),
        size=matched.size,
        center=matched.center,
        yaw=zero,
        alpha=zero,
        covariance=matched.covariance,
        reprojection_error=zero,
    )


def findings(images: int, objects: int) -> Findings:
    truth, detections = [], []
    for image in range(images):
        matched = cars(objects, NOISE, seed=image)
        found = detected(matched)
        boxes = F.pad(matched.center, (0, 1)) - matched.error
        truth.append(
            [
                label(tuple(row[:3]), row[3], tuple(box))
                for row, box in zip(boxes.tolist(), found.box2d.tolist(), strict=True)
            ]
        )
        detections.append(found)
    return Findings(truth, detections, ("Car", "Cyclist"))


def test_calibration_is_judged_on_images_that_it_was_not_fitted_to():
    seen = findings(images=41, objects=25)
    noise, table = fit_and_judge(seen)
    assert astuple(noise) == pytest.approx(astuple(NOISE), rel=0.5)
    assert table.keys() == {"Car"}
    assert table["Car"]["objects"] == 20 * 25
    records = [to_records(found, seen.classes) for found in seen.detections[1::2]]
    judged = with_noise(match(seen.truth[1::2], records, "Car"), noise)
    assert table["Car"] == figures(judged)


def test_too_few_objects_are_refused():
    with pytest.raises(InputError, match="10 labelled objects were found, too few"):
        fit_and_judge(findings(images=2, objects=10))
