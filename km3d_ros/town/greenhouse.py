"""Upper part of a car: windows with reflections, pillars, roof and mirrors."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from km3d_ros.town.meshes import Slot

if TYPE_CHECKING:
    from km3d_ros.town.vehicles import Body


def build_greenhouse(body: Body) -> None:
    """Add all parts above the belt line."""
    base, roof, crown = _frame(body)
    inside = body.at(0.4, 0.0, 0.8)
    body.b.hull([*base, *roof, *crown], Slot.DARK)
    for k in range(4):
        j = (k + 1) % 4
        body.b.polygon((base[k], base[j], roof[j], roof[k]), Slot.PAINT, 6, inside)
        body.b.polygon((roof[k], roof[j], crown[j], crown[k]), Slot.LIGHT, 6, inside)
    body.b.polygon(crown, Slot.PAINT, 6, inside)
    _windscreen(body, (base[2], base[3], roof[3], roof[2]), inside)
    st = body.style
    if st.glazed_from == 0 or body.rng.random() < 0.5:
        _rear_window(body, (base[0], base[1], roof[1], roof[0]), inside)
    bounds = [st.glazed_from, *[w for w in st.windows if w > st.glazed_from], 1.0]
    for side in ((base[0], base[3], roof[3], roof[0]), (base[1], base[2], roof[2], roof[1])):
        _quad(body, side, bounds[0] + 0.04, 0.965, 0.06, 0.92, Slot.DARK, 7, inside)
        for a, b in itertools.pairwise(bounds):
            first = 0.055 if a == st.glazed_from else 0.015
            last = 0.055 if b == 1.0 else 0.015
            _pane(body, side, a + first, b - last, 0.1, 0.9, inside)
    _mirrors(body)
    if st.rails:
        _rails(body, roof)


def _frame(body: Body) -> tuple[list, list, list]:
    """Corners of the belt line, of the edge of the roof and of the roof.

    Each list is rear left, rear right, front right, front left.
    """
    st, at = body.style, body.at
    top, edge, inset, rw = 1.0, 0.955, 0.045, body.style.roof_width
    base = [at(st.rear[0], y, st.rear[1] - 0.02) for y in (0.84, -0.84)]
    base += [at(st.cowl[0], y, st.cowl[1] - 0.02) for y in (-0.82, 0.82)]
    roof = [at(st.roof[0], y, edge) for y in (rw, -rw)]
    roof += [at(st.roof[1], y, edge) for y in (-rw + 0.02, rw - 0.02)]
    crown = [at(st.roof[0] + inset, y, top) for y in (rw - 0.16, 0.16 - rw)]
    crown += [at(st.roof[1] - inset, y, top) for y in (0.16 - rw, rw - 0.16)]
    return base, roof, crown


def _on(quad, a, b) -> np.ndarray:
    """Interpolate in a quad (base start, base end, top end, top start); a, b from 0 to 1."""
    quad = np.asarray(quad)
    return (1 - b) * ((1 - a) * quad[0] + a * quad[1]) + b * ((1 - a) * quad[3] + a * quad[2])


def _quad(body: Body, quad, a0, a1, b0, b1, slot, layer, inside) -> None:
    points = [_on(quad, a0, b0), _on(quad, a1, b0), _on(quad, a1, b1), _on(quad, a0, b1)]
    body.b.polygon(points, slot, layer, inside)


def _pane(body: Body, quad, a0, a1, b0, b1, inside) -> None:
    """Add a window whose upper part reflects the sky, down to a slanted skyline."""
    rng = body.rng
    _quad(body, quad, a0, a1, b0, b1, Slot.GLASS, 8, inside)
    left, right = b1 - rng.uniform(0.1, 0.65, 2) * (b1 - b0)
    sky = [_on(quad, a0, left), _on(quad, a1, right), _on(quad, a1, b1), _on(quad, a0, b1)]
    body.b.polygon(sky, Slot.SKY, 9, inside)
    if rng.random() < 0.3:
        x = rng.uniform(0.1, 0.6) * (a1 - a0) + a0
        wide = rng.uniform(0.1, 0.25) * (a1 - a0)
        _quad(body, quad, x, x + wide, b0 + 0.2 * (b1 - b0), b1, Slot.GLARE, 10, inside)


def _windscreen(body: Body, quad, inside) -> None:
    """Add a windscreen with a reflection of the sky, a wiper and, at random, head rests."""
    _quad(body, quad, 0.02, 0.98, 0.0, 0.97, Slot.DARK, 7, inside)
    _pane(body, quad, 0.04, 0.96, 0.05, 0.94, inside)
    if body.rng.random() < 0.4:
        for a in (0.27, 0.73):
            _quad(body, quad, a - 0.06, a + 0.06, 0.25, 0.52, Slot.DARK, 10, inside)
    wiper = [_on(quad, 0.2, 0.05), _on(quad, 0.75, 0.08), _on(quad, 0.75, 0.11)]
    body.b.polygon(wiper, Slot.TRIM, 11, inside)


def _rear_window(body: Body, quad, inside) -> None:
    """Add a rear window with a wiper and, at random, a third brake lamp and pillar lamps.

    Only upright rears have pillar lamps.
    """
    rng = body.rng
    low, high = rng.uniform(0.14, 0.3), rng.uniform(0.84, 0.9)
    edge = rng.uniform(0.09, 0.14)
    _quad(body, quad, edge - 0.02, 1.02 - edge, low - 0.03, high + 0.02, Slot.DARK, 7, inside)
    _pane(body, quad, edge, 1 - edge, low, high, inside)
    if rng.random() < 0.6:
        _quad(body, quad, 0.42, 0.58, high + 0.03, high + 0.07, Slot.TAIL, 10, inside)
    wiper = [_on(quad, 0.48, low), _on(quad, 0.52, low), _on(quad, 0.72, low + 0.12)]
    body.b.polygon(wiper, Slot.TRIM, 11, inside)
    if body.style.rear[0] < 0.06 and rng.random() < 0.35:
        for a in (0.005, 0.995 - 0.075):
            _quad(body, quad, a, a + 0.075, 0.0, rng.uniform(0.5, 0.85), Slot.TAIL, 11, inside)


def _mirrors(body: Body) -> None:
    """Add mirrors, which are painted before the greenhouse.

    Only their outer faces are painted after it, because they are in front of it from the side.
    """
    place, height = body.style.cowl[0] - 0.07, body.style.cowl[1] + 0.03
    slot = Slot.TRIM if body.rng.random() < 0.5 else Slot.PAINT
    for sign in (-1, 1):
        low, high = sorted((sign * 0.80, sign * 0.985))
        ends = (body.at(place - 0.014, low, height), body.at(place + 0.018, high, height + 0.09))
        body.b.box(*ends, slot, 5, hull=False)
        outer = body.at(
            place + np.array([-0.014, 0.018, 0.018, -0.014]),
            sign * 0.985,
            height + np.array([0, 0, 1, 1]) * 0.09,
        )
        body.b.polygon(outer, slot, 12, body.inside)


def _rails(body: Body, roof) -> None:
    for rear, front in ((roof[0], roof[3]), (roof[1], roof[2])):
        lift = np.array([0, 0, 0.03])
        a, b = rear * 0.9 + front * 0.1, front * 0.9 + rear * 0.1
        body.b.polygon([a, b, b + lift, a + lift], Slot.TRIM, 12, two_sided=True)
