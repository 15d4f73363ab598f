from dataclasses import fields
from pathlib import Path

import yaml

from km3d_ros.node.tracker_parameters import PARAMETERS, FixedSettings, LiveSettings

CONFIG = Path(__file__).parents[2] / "config" / "km3d_tracker.yaml"


def test_fixed_settings_are_the_fixed_parameters_and_live_ones_the_rest():
    fixed = {rule.name for rule in PARAMETERS if rule.fixed}
    assert {field.name for field in fields(FixedSettings)} == fixed
    assert {field.name for field in fields(LiveSettings)} == {r.name for r in PARAMETERS} - fixed


def test_configuration_file_names_every_parameter_with_its_default():
    values = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    assert values == {rule.name: rule.default for rule in PARAMETERS}
