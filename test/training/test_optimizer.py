import pytest
import torch

from km3d_ros.training.optimizer import new_average, rate_factor


def test_learning_rate_warms_up_stays_and_falls_to_zero():
    factors = [rate_factor(step, 10000) for step in (0, 299, 5999, 8000, 9999)]
    assert factors[0] == pytest.approx(1 / 300)
    assert factors[1] == factors[2] == 1
    assert factors[3] == pytest.approx(0.5)
    assert factors[4] == pytest.approx(0, abs=1e-6)


def averaged(values):
    layer = torch.nn.Linear(1, 1)
    average = new_average(layer)
    for value in values:
        torch.nn.init.constant_(layer.weight, value)
        average.update_parameters(layer)
    return average.module.weight.item()


def test_average_soon_forgets_where_a_training_started():
    assert averaged([1.0] + [0.0] * 100) < 1e-6


def test_average_of_a_long_training_is_slow():
    assert averaged([0.0] * 9000 + [1.0]) == pytest.approx(0.002, rel=1e-3)
