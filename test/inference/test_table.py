from dataclasses import fields

import torch

from km3d_ros.inference.decode import Objects
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.table import SHAPES, columns, pack, unpack


def some(kind, *batch):
    """Rows whose numbers are all different."""
    values, start = {}, 0
    for field in fields(kind):
        shape = (*batch, *SHAPES.get(field.name, ()))
        count = torch.Size(shape).numel()
        values[field.name] = torch.arange(start, start + count).reshape(shape).float()
        start += count
    return kind(**values | {"class_index": values["class_index"].long()})


def test_what_is_packed_is_unpacked():
    for kind, width in ((Objects, 30), (Detections, 52)):
        rows = some(kind, 2, 5)
        table = pack(rows)
        assert table.shape == (2, 5, width)
        assert table.dtype == torch.float32
        back = unpack(kind, table)
        for field in fields(kind):
            value, expected = getattr(back, field.name), getattr(rows, field.name)
            assert value.dtype == expected.dtype
            assert torch.equal(value, expected), field.name


def test_columns_are_where_the_fields_are():
    rows = some(Detections, 3)
    table, where = pack(rows), columns(Detections)
    assert torch.equal(table[:, where["center"]], rows.center)
    assert torch.equal(table[:, where["keypoints"]], rows.keypoints.flatten(1))
    assert list(where) == [field.name for field in fields(Detections)]
