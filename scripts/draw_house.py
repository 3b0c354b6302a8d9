"""Draws docs/house.svg from the imports of the code, and brings `Imported by` in ARCHITECTURE.md up to date.

    python scripts/draw_house.py

Rows: a room stands below all that it imports. Arrows that a longer path implies are left out. Within a row, rooms
are ordered for few crossings and pulled towards their neighbours. On narrow screens only the names are shown.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise, permutations

import house

PICTURE = house.ROOT / "docs" / "house.svg"
CENTER = "AdvantageTable"  # the object in the middle: the room that owns it gets a strong border
BOX, HEIGHT, COLUMN, ROW, MARGIN, TOP, FOOT = 198, 62, 220, 102, 24, 66, 62
WRAP = 26  # characters of a question on one line
STYLE = """
.paper{fill:#fff}.name{fill:#1b1f24;font-weight:600;font-size:17px}.kind{fill:#6b7280;font-weight:400}
.asks,.note{fill:#4b5563;font-size:12.5px}.arrow{fill:none;stroke:#a3abb6;stroke-width:1.6}.head{fill:#868f9c}
rect.f0{fill:#eceef1;stroke:#9aa3af}rect.f1{fill:#e3edfb;stroke:#5b8bd0}
rect.f2{fill:#e2f3e8;stroke:#4c9f70}rect.f3{fill:#f8ecdc;stroke:#c98a3b}
rect.room,rect.key{stroke-width:1.2}rect.center{stroke-width:3}
@media (prefers-color-scheme:dark){
.paper{fill:#14181d}.name{fill:#edf0f3}.kind{fill:#9aa4b0}.asks,.note{fill:#b6bec8}.arrow{stroke:#5d6773}.head{fill:#77828f}
rect.f0{fill:#262b32;stroke:#68727e}rect.f1{fill:#1a2c47;stroke:#6d9fe8}
rect.f2{fill:#173325;stroke:#5fb585}rect.f3{fill:#3a2a16;stroke:#d59a4e}}
.short{display:none}
@media (max-width:520px){.wide{display:none}.short{display:inline}.name{font-size:27px}.note{font-size:20px}
.arrow{stroke-width:2.4}rect.room{stroke-width:2}rect.center{stroke-width:5}}
"""

NOTES = (
    "An arrow leads from a room to one that imports it; what a longer path already says is left out.",
    f"Bold border: where the central object, {CENTER}, lives.",
)

Node = str | tuple[str, str, int]  # a room, or a bend of the arrow from one room to another in a row between


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that a longer path implies.

    >>> reduced({"c": {"a", "b"}, "b": {"a"}, "a": set()})["c"]
    {'b'}
    """
    return {
        node: {
            other
            for other in others
            if not any(other in house.reachable(graph, third) for third in others if third != other)
        }
        for node, others in graph.items()
    }


def depths(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """The row of each room: one below the lowest that it imports.

    >>> depths({"c": {"a", "b"}, "b": {"a"}, "a": set()})
    {'c': 2, 'b': 1, 'a': 0}
    """

    def depth(node: str) -> int:
        return max((depth(other) + 1 for other in graph[node]), default=0)

    return {node: depth(node) for node in graph}


def chains(graph: Mapping[str, set[str]], row: Mapping[str, int]) -> list[list[Node]]:
    """Each arrow as its way from room to room, with a bend in every row between."""
    return [
        [upper, *((upper, lower, step) for step in range(row[upper] + 1, row[lower])), lower]
        for lower in graph
        for upper in sorted(graph[lower])
    ]


def crossings(ways: Sequence[Sequence[Node]], at: Mapping[Node, float], row: Callable[[Node], int]) -> int:
    """How many pairs of arrows cross between neighbouring rows."""
    pairs = [(row(a), at[a], at[b]) for way in ways for a, b in pairwise(way)]
    return sum(p[0] == q[0] and (p[1] - q[1]) * (p[2] - q[2]) < 0 for i, p in enumerate(pairs) for q in pairs[i + 1 :])


def ordered(rows: list[list[Node]], ways: Sequence[Sequence[Node]], row: Callable[[Node], int]) -> list[list[Node]]:
    """The rows in the order with the fewest crossings that sweeps over single rows find; ties keep the plan's order."""
    rows = [list(nodes) for nodes in rows]

    def cost() -> tuple[int, float]:
        at = {node: i - (len(nodes) - 1) / 2 for nodes in rows for i, node in enumerate(nodes)}
        return crossings(ways, at, row), sum(abs(at[a] - at[b]) for w in ways for a, b in pairwise(w))

    while True:
        before = [list(nodes) for nodes in rows]
        for index in range(len(rows)):
            choices = []
            for order in permutations(rows[index]):
                rows[index] = list(order)
                choices.append((cost(), len(choices), rows[index]))
            rows[index] = min(choices)[2]
        if rows == before:
            return rows


def placed(rows: list[list[Node]], ways: Sequence[Sequence[Node]]) -> dict[Node, int]:
    """Where each node stands, in half columns: near its neighbours, in its row's order, boxes a column apart."""
    near: dict[Node, list[Node]] = {node: [] for nodes in rows for node in nodes}
    for way in ways:
        for a, b in pairwise(way):
            near[a].append(b)
            near[b].append(a)

    def apart(nodes: Sequence[Node]) -> list[float]:
        pairs = pairwise(nodes)
        return [2.0 if isinstance(a, str) and isinstance(b, str) else 1.0 for a, b in pairs]

    at: dict[Node, float] = {}
    for nodes in rows:
        at.update(zip(nodes, spread([0.0] * len(nodes), apart(nodes)), strict=True))
    for turn in range(200):
        for nodes in rows:
            want = [sum(at[other] for other in near[node]) / max(1, len(near[node])) for node in nodes]
            at.update(zip(nodes, spread(want, apart(nodes), whole=turn > 100), strict=True))
    left = min(at[node] for node in at if isinstance(node, str))
    return {node: round(x - left) for node, x in at.items()}


def spread(want: Sequence[float], apart: Sequence[float], whole: bool = False) -> list[float]:
    """The positions nearest to those wanted (least squares) with at least these distances between; whole: rounded.

    >>> spread([0.0, 0.0, 10.0], [2.0, 2.0])
    [-1.0, 1.0, 10.0]
    """
    offsets = [sum(apart[:i]) for i in range(len(want))]
    blocks: list[list[float]] = []
    for value in (w - o for w, o in zip(want, offsets, strict=True)):
        blocks.append([value])
        while len(blocks) > 1 and sum(blocks[-2]) / len(blocks[-2]) > sum(blocks[-1]) / len(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    flat = [sum(block) / len(block) for block in blocks for _ in block]
    flat = [float(round(value)) for value in flat] if whole else flat  # rounding keeps the order, so the distances too
    return [value + offset for value, offset in zip(flat, offsets, strict=True)]


def draw() -> str:
    """The picture as SVG."""
    plan = house.plan()
    floors = list(dict.fromkeys(room.floor for room in plan))
    full = house.arrows()
    graph = reduced({room.name: full[room.name] for room in plan})
    depth = depths(graph)
    ways = chains(graph, depth)

    def row(node: Node) -> int:
        return depth[node] if isinstance(node, str) else node[2]

    rows: list[list[Node]] = [[] for _ in range(max(depth.values()) + 1)]
    for node in dict.fromkeys([*graph, *(node for way in ways for node in way)]):
        rows[row(node)].append(node)
    at = {node: MARGIN + (BOX + COLUMN * x) // 2 for node, x in placed(ordered(rows, ways, row), ways).items()}
    width = max(x for node, x in at.items() if isinstance(node, str)) + BOX // 2 + MARGIN
    height = TOP + ROW * (len(rows) - 1) + HEIGHT + FOOT
    floor = {room.name: floors.index(room.floor) for room in plan}
    parts = [_arrow(way, at, row) for way in ways]
    for room in plan:
        parts.append(_box(room, at[room.name], TOP + ROW * depth[room.name], floor[room.name]))
    words = "; ".join(f"{name} is built on {', '.join(sorted(others))}" for name, others in graph.items() if others)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="system-ui,-apple-system,\'Segoe UI\',Roboto,Helvetica,Arial,'
        f'sans-serif">\n<title>The rooms of advshape</title>\n<desc>{escape(words)}</desc>\n<style>{STYLE}</style>\n'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="10" markerHeight="10" orient="auto" '
        'markerUnits="userSpaceOnUse"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>\n'
        f'<rect class="paper" width="{width}" height="{height}" rx="12"/>\n'
        + _legend(floors, width)
        + "\n".join(parts)
        + "".join(
            f'\n<text class="note wide" x="{width // 2}" y="{height - 34 + 17 * i}" text-anchor="middle">{line}</text>'
            for i, line in enumerate(NOTES)
        )
        + "\n</svg>\n"
    )


def _legend(floors: Sequence[str], width: int) -> str:
    free = (width - 2 * MARGIN - 10 * sum(map(len, floors))) // len(floors)  # a narrow screen's letters are 10 wide
    at = [MARGIN + 10 * sum(map(len, floors[:i])) + free * i for i in range(len(floors))]
    return "".join(
        f'<rect class="key f{i}" x="{x}" y="20" width="18" height="18" rx="5"/>'
        f'<text class="note" x="{x + 26}" y="34">{escape(name)}</text>\n'
        for i, (name, x) in enumerate(zip(floors, at, strict=True))
    )


def _box(room: house.Room, x: int, y: int, floor: int) -> str:
    center = " center" if house.OWNERS[CENTER].startswith(f"advshape.{room.name}.") else ""
    kind = '<tspan class="kind">.py</tspan>' if room.path.endswith(".py") else ""
    asks = textwrap.wrap(house.question(room.name).replace("`", ""), WRAP)
    first = y + HEIGHT // 2 + 6 - 8 * len(asks)
    lines = [
        f'<rect class="room f{floor}{center}" x="{x - BOX // 2}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="9"/>',
        _text("name short", x, y + HEIGHT // 2 + 9, room.name),
        _text("name wide", x, first, room.name + kind),
        *(_text("asks wide", x, first + 17 + 15 * i, escape(line)) for i, line in enumerate(asks)),
    ]
    return "\n".join(lines)


def _text(kind: str, x: int, y: int, words: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="middle">{words}</text>'


def _arrow(way: Sequence[Node], at: Mapping[Node, int], row: Callable[[Node], int]) -> str:
    """A smooth line from the bottom of one box to the top of another, straight down through its bends."""
    x, y = at[way[0]], TOP + ROW * row(way[0]) + HEIGHT
    path = [f"M{x} {y}"]
    for node in way[1:]:
        top = TOP + ROW * row(node)
        end = top - 1 if isinstance(node, str) else top
        middle = (y + end) // 2
        path.append(f"C{x} {middle} {at[node]} {middle} {at[node]} {end}")
        x, y = at[node], end
        if not isinstance(node, str):
            y = top + HEIGHT
            path.append(f"V{y}")
    return f'<path class="arrow" marker-end="url(#head)" d="{" ".join(path)}"/>'


def main() -> None:
    """Write both."""
    text = house.PLAN.read_text(encoding="utf-8")
    house.PLAN.write_text(house.with_importers(text), encoding="utf-8")
    PICTURE.write_text(draw(), encoding="utf-8")
    print(PICTURE.relative_to(house.ROOT))


if __name__ == "__main__":
    main()
