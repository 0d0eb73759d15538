"""Makes of the lines that were measured a table, a JSON file and a plot, and says which bounds hold.

    python3 Bench/Report FOLDER SAMPLES... [--docs FOLDER] [--partial]

Writes table.md, result.json and performance.svg into FOLDER, and shows the table. With --docs, the table also goes
between the marks in performance.md of that folder, and the plot beside it. Fails when a bound does not hold, or was not
measured; with --partial only a part was to be measured, and the rest is let pass.
"""

import argparse
import json
import pathlib
import re
import sys

import bounds
import plot
from samples import Samples, interval, median, spread

SIZES = (1, 10, 16, 64, 100, 500)
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def number(value, unit):
    digits = 0 if value >= 1000 else 1 if value >= 100 else 2 if value >= 1 else 3
    return f"{value:.{digits}f} {unit}".strip()


def with_spread(values, unit):
    values = list(values.values())
    if len(values) == 1:
        return number(values[0], unit)
    return f"{number(median(values), '')} ± {number(spread(values), unit)}"


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)] + rows
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def comparisons(samples, group):
    """A row for each thing that was measured in rounds."""
    others = [s for name in samples.names(group) for s in samples.sides(group, name) if s not in ("ours", "swtpm")]
    others = list(dict.fromkeys(others))
    has_peer = any("swtpm" in samples.sides(group, name) for name in samples.names(group))
    rows = []
    for name in samples.names(group):
        unit = samples.units[(group, name)]
        row = [name]
        for side in ["ours"] + (["swtpm"] if has_peer else []) + others:
            values = samples.of(group, name, side)
            row.append(with_spread(values, unit) if values else "")
        if has_peer:
            ratios = samples.ratios(group, name, "ours", "swtpm")
            row.append(f"{median(ratios):.2f}" if ratios else "")
            if len(ratios) > 1:
                row[-1] += " ({:.2f} to {:.2f})".format(*interval(ratios))
        rows.append(row)
    head = [group, "ours"] + (["swtpm"] if has_peer else []) + others + (["ours / swtpm"] if has_peer else [])
    return table(head, rows)


def by_size(samples, group, where=""):
    """A row for each thing that was measured at several numbers of instances."""
    rows = []
    sizes = [n for n in SIZES if any(n in v for name in samples.names(group) for v in samples.sides(group, name).values())]
    for name in samples.names(group):
        unit = samples.units[(group, name)]
        for side in samples.sides(group, name):
            values = samples.of(group, name, side)
            rows.append([f"{name}, {side}"] + [number(values[n], unit) if n in values else "" for n in sizes])
    return table([f"{group}, per instance at"] + [str(n) for n in sizes], rows)


def report(samples, facts):
    text = [f"{name}: {value}  " for name, value in facts.items()] + [""]
    for group in samples.groups():
        if group == "fact":
            continue
        text.append(by_size(samples, group) if group.startswith(("memory", "growth")) else comparisons(samples, group))
    results = bounds.verdicts(samples)
    text.append(
        table(
            ["bound", "is to be", "is", "", ""],
            [
                [v.what, v.bound, "" if v.value is None else f"{v.value:.2f}", v.result, v.note]
                for v in results
            ],
        )
    )
    return "\n".join(text), results


def panels(samples):
    def medians(group, name):
        return {side: median(list(values.values())) for side, values in samples.sides(group, name).items()}

    def sizes(group, name):
        return {side: values for side, values in samples.sides(group, name).items()}

    found = []
    quick = {
        name: medians("round trip", name) for name in samples.names("round trip") if not name.startswith("Sign")
    }
    if quick:
        found.append(plot.bars("Round trip over a socket pair", "µs", quick))
    starts = {name: medians("start", name) for name in samples.names("start")}
    if starts:
        found.append(plot.bars("Start to first answer", "ms", starts, {n: n.replace(", ", "\n") for n in starts}))
    for group, title in (
        ("container in the guest", "Container in the guest"),
        ("containers at once in the guest", "Containers at once in the guest, until all are created"),
    ):
        names = [name for name in samples.names(group) if "delete" not in name and not name.endswith(", failed")]
        if names:
            labels = {name: name.replace(", until all are created", " containers") for name in names}
            found.append(plot.bars(title, "ms", {name: medians(group, name) for name in names}, labels))
    for group, where in (("", "over a socket pair"), (" in the guest", "in the guest")):
        if samples.names("memory" + group):
            found.append(plot.curves(f"Memory (PSS) per instance, {where}", "KiB", sizes("memory" + group, "PSS")))
        if samples.names("growth" + group):
            found.append(plot.curves(f"Time per start, {where}", "ms", sizes("growth" + group, "start")))
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("samples", nargs="+")
    parser.add_argument("--docs", type=pathlib.Path)
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--fact", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    samples = Samples()
    for path in arguments.samples:
        samples.read(path)
    facts = dict(fact.split("=", 1) for fact in arguments.fact)
    text, results = report(samples, facts)
    print(text)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "table.md").write_text(text, encoding="utf-8")
    content = {
        "machine": facts,
        "measured": [
            {"group": group, "name": name, "unit": samples.units[(group, name)], "sides": sides}
            for (group, name), sides in samples.values.items()
        ],
        "bounds": [vars(verdict) for verdict in results],
    }
    (arguments.folder / "result.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    image = plot.document(panels(samples))
    (arguments.folder / "performance.svg").write_text(image, encoding="utf-8")
    if arguments.docs:
        page = arguments.docs / "performance.md"
        old = page.read_text(encoding="utf-8")
        new = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{text}\n{END}", old, flags=re.DOTALL)
        if new == old and text not in old:
            sys.exit(f"report: cannot find the marks in {page}")
        page.write_text(new, encoding="utf-8")
        (arguments.docs / "performance.svg").write_text(image, encoding="utf-8")
    broken = [verdict for verdict in results if verdict.breaks(arguments.partial)]
    for verdict in broken:
        is_ = "it was not measured" if verdict.value is None else f"it is {verdict.value:.2f}"
        print(f"bench: a bound does not hold: {verdict.what} is to be {verdict.bound}, and {is_}", file=sys.stderr)
    if broken:
        sys.exit(1)


main()
