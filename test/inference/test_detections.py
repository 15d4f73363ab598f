from dataclasses import fields

import numpy as np
import torch

from km3d_ros.inference.decode import pack
from km3d_ros.inference.detections import SHAPES, Detections, columns, unpack


def some(*batch):
    """Rows of tensors whose numbers are all different."""
    values, start = {}, 0
    for field in fields(Detections):
        shape = (*batch, *SHAPES.get(field.name, ()))
        count = torch.Size(shape).numel()
        values[field.name] = torch.arange(start, start + count).reshape(shape).float()
        start += count
    return Detections(**values | {"class_index": values["class_index"].long()})


def test_what_is_packed_is_unpacked():
    rows = some(2, 5)
    table = pack(rows)
    assert table.shape == (2, 5, 52)
    assert table.dtype == torch.float32
    back = unpack(table.numpy())
    for field in fields(Detections):
        value, expected = getattr(back, field.name), getattr(rows, field.name).numpy()
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected, field.name)


def test_columns_are_where_the_fields_are():
    rows = some(3)
    table, where = pack(rows), columns()
    assert torch.equal(table[:, where["center"]], rows.center)
    assert torch.equal(table[:, where["keypoints"]], rows.keypoints.flatten(1))
    assert list(where) == [field.name for field in fields(Detections)]
