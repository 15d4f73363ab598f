import doctest

import pytest

from km3d_ros.geometry import box3d, camera, grm, orientation, pinhole


@pytest.mark.parametrize("module", [box3d, camera, grm, orientation, pinhole])
def test_examples_in_docstrings_hold(module):
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0
