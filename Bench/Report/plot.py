"""A plot as SVG, with nothing but text."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, GAP = 470, 300, 20
COLOURS = {
    "ours": "#1f6feb", "swtpm": "#d29922", "floor": "#8b949e", "no TPM": "#c9d1d9", "file alone": "#8b949e",
    "2ea67b3": "#8250df",
}


class Panel:
    """A rectangle with a title; x and y are from 0 to 1."""

    def __init__(self, title):
        self.parts = [text(WIDTH / 2, 18, title, anchor="middle", size=14, weight="bold")]

    left, right, top, bottom = 62, 14, 44, 46

    def x(self, part):
        return self.left + part * (WIDTH - self.left - self.right)

    def y(self, part):
        return HEIGHT - self.bottom - part * (HEIGHT - self.top - self.bottom)

    def add(self, part):
        self.parts.append(part)

    def grid(self, limit, unit):
        step = nice_step(limit)
        value = 0
        while value <= limit * 1.001:
            height = self.y(value / limit)
            self.add(f'<line x1="{self.x(0):.1f}" x2="{self.x(1):.1f}" y1="{height:.1f}" y2="{height:.1f}" class="grid"/>')
            self.add(text(self.x(0) - 6, height + 4, f"{value:g}", anchor="end"))
            value += step
        self.add(text(8, self.top - 8, unit))

    def legend(self, sides):
        place = self.x(1)
        for side in reversed(sides):
            place -= 7 * len(side) + 18
            self.add(f'<rect x="{place:.1f}" y="{self.top - 17}" width="10" height="10" fill="{COLOURS.get(side, "#3fb950")}"/>')
            self.add(text(place + 14, self.top - 8, side))

    def svg(self, x, y):
        return f'<g transform="translate({x},{y})">' + "".join(self.parts) + "</g>"


def text(x, y, content, anchor="start", size=11, weight="normal"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}">'
        f"{escape(content)}</text>"
    )


def nice_step(limit):
    rough = limit / 5
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def curves(title, unit, lines):
    """Lines over the number of instances: {side: {number: value}}."""
    panel = Panel(title)
    lines = {side: points for side, points in lines.items() if points}
    limit = 1.1 * max(max(points.values()) for points in lines.values())
    last = max(max(points) for points in lines.values())
    panel.grid(limit, unit)
    panel.legend(list(lines))
    scale = math.log10(last) or 1
    for mark in (1, 2, 5, 10, 20, 50, 100, 200, 500):
        if mark <= last:
            panel.add(text(panel.x(math.log10(mark) / scale), HEIGHT - panel.bottom + 16, str(mark), anchor="middle"))
    panel.add(text(panel.x(0.5), HEIGHT - 8, "instances", anchor="middle"))
    for side, points in lines.items():
        places = [(panel.x(math.log10(n) / scale), panel.y(value / limit)) for n, value in sorted(points.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = COLOURS.get(side, "#3fb950")
        panel.add(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in places:
            panel.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
    return panel


def bars(title, unit, groups, labels=None):
    """Bars beside each other: {name: {side: value}}."""
    panel = Panel(title)
    sides = list(dict.fromkeys(side for values in groups.values() for side in values))
    limit = 1.15 * max(value for values in groups.values() for value in values.values())
    panel.grid(limit, unit)
    panel.legend(sides)
    room = 1 / max(len(groups), 1)
    for index, (name, values) in enumerate(groups.items()):
        for place, side in enumerate(sides):
            if side not in values:
                continue
            left = panel.x(room * (index + 0.12 + 0.76 * place / len(sides)))
            right = panel.x(room * (index + 0.12 + 0.76 * (place + 1) / len(sides)))
            top = panel.y(values[side] / limit)
            panel.add(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left - 1:.1f}" height="{panel.y(0) - top:.1f}"'
                f' fill="{COLOURS.get(side, "#3fb950")}"/>'
            )
        for line, word in enumerate((labels or {}).get(name, name).split("\n")):
            panel.add(text(panel.x(room * (index + 0.5)), HEIGHT - panel.bottom + 15 + 12 * line, word, anchor="middle"))
    return panel


def document(panels):
    columns = 2
    rows = (len(panels) + 1) // columns
    width, height = columns * (WIDTH + GAP), rows * (HEIGHT + GAP)
    body = "".join(
        panel.svg(index % columns * (WIDTH + GAP) + GAP / 2, index // columns * (HEIGHT + GAP) + GAP / 2)
        for index, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
        "<style>text{fill:#24292f}.grid{stroke:#d0d7de}</style>"
        f'<rect width="{width}" height="{height}" fill="#fff"/>{body}</svg>\n'
    )
