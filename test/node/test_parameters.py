from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from km3d_ros.node.parameters import (
    PARAMETERS,
    FixedSettings,
    LiveSettings,
    declare,
    read,
)

CONFIG = Path(__file__).parents[2] / "config" / "km3d.yaml"


@pytest.fixture
def make(ros):
    nodes = []

    def make(**values):
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(Node("parameters", parameter_overrides=overrides))
        declare(nodes[-1], PARAMETERS)
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def names(settings):
    return {field.name for field in fields(settings)}


def test_fixed_settings_are_the_fixed_parameters_and_live_ones_the_rest():
    assert names(FixedSettings) == {rule.name for rule in PARAMETERS if rule.fixed}
    assert names(LiveSettings) == {rule.name for rule in PARAMETERS if not rule.fixed}


def test_configuration_file_names_every_parameter_with_its_default():
    values = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    assert values == {rule.name: rule.default for rule in PARAMETERS}


def test_settings_are_read_as_they_are_now(make):
    node = make(score_threshold=0.5, grm="published")
    assert read(node, LiveSettings).grm == "published"
    node.set_parameters([Parameter("score_threshold", value=0.25)])
    assert read(node, LiveSettings).score_threshold == 0.25
    assert read(node, FixedSettings).image_transport == "raw"


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("score_threshold", -0.1, "Min: 0.0, Max: 1.0"),
        ("score_threshold", 1.1, "Min: 0.0, Max: 1.0"),
        ("score_threshold", float("nan"), "Min: 0.0, Max: 1.0"),
        ("max_detections", 0, "Min: 1, Max: 100"),
        ("max_detections", 101, "Min: 1, Max: 100"),
        ("marker_lifetime", 0.0, "Min: 0.05, Max: 60.0"),
        ("grm", "exact", "grm is 'exact', expected consistent or published"),
        ("field_of_view", 141.0, "Min: 0.0, Max: 140.0"),
        ("field_of_view", 9.0, "field_of_view is 9, expected 0, or 10 or more"),
        ("image_transport", "theora", "expected raw or compressed"),
    ],
)
def test_value_that_breaks_its_rule_is_refused_at_start_and_at_run_time(make, name, value, rule):
    with pytest.raises(InvalidParameterValueException, match=rule):
        make(**{name: value})
    node = make()
    if name in names(LiveSettings):
        before = read(node, LiveSettings)
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert rule in result.reason
        assert read(node, LiveSettings) == before


def test_value_of_another_type_is_refused(make):
    with pytest.raises(InvalidParameterTypeException, match="max_detections"):
        make(max_detections="many")


@pytest.mark.parametrize("value", [True, False, "auto"])
def test_rectified_is_true_false_or_auto(make, value):
    assert read(make(rectified=value), FixedSettings).rectified == value


@pytest.mark.parametrize("value", [1, "yes"])
def test_rectified_is_nothing_else(make, value):
    with pytest.raises(InvalidParameterValueException, match="expected auto or true or false"):
        make(rectified=value)


def test_descriptions_tell_unit_range_and_choices(make):
    node = make()
    lifetime = node.describe_parameter("marker_lifetime")
    assert lifetime.description.endswith("Unit: s.")
    assert lifetime.floating_point_range[0].to_value == 60.0
    assert node.describe_parameter("max_detections").integer_range[0].from_value == 1
    assert node.describe_parameter("grm").additional_constraints == "one of: consistent, published"
