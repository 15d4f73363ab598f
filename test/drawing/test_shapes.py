from km3d_ros.drawing.shapes import color_of


def test_every_class_has_a_colour_of_its_own():
    colors = [color_of(index) for index in range(30)]
    assert colors[0] == color_of(0)
    assert all(0 <= value <= 255 for color in colors for value in color)
    apart = [max(abs(x - y) for x, y in zip(a, b, strict=True))
             for i, a in enumerate(colors) for b in colors[:i]]  # fmt: skip
    assert min(apart) >= 8
