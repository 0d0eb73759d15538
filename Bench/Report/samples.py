"""What was measured, and the statistics of it."""

import json
import random
import statistics


class Samples:
    """Blocks of measurements by group, name and side; of each, the median under its round."""

    def __init__(self):
        self.values = {}
        self.units = {}

    def read(self, path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                if not line.startswith("{"):
                    continue
                block = json.loads(line)
                key = (block["group"], block["name"])
                self.units[key] = block["unit"]
                rounds = self.values.setdefault(key, {}).setdefault(block["side"], {})
                if block["round"] in rounds:
                    raise ValueError(f"{path}: {key} of {block['side']} was measured twice in round {block['round']}")
                rounds[block["round"]] = block["median"]

    def names(self, group):
        return [name for (its, name) in self.values if its == group]

    def groups(self):
        return list(dict.fromkeys(group for (group, _) in self.values))

    def of(self, group, name, side):
        """The medians of a side, by round."""
        return self.values.get((group, name), {}).get(side, {})

    def sides(self, group, name):
        return self.values.get((group, name), {})

    def ratios(self, group, name, side, base):
        """One ratio for each round in which both were measured."""
        mine, other = self.of(group, name, side), self.of(group, name, base)
        return [mine[round] / other[round] for round in sorted(mine) if other.get(round)]


def median(values):
    return statistics.median(values)


def spread(values):
    """Median absolute deviation."""
    middle = median(values)
    return median([abs(value - middle) for value in values])


def interval(values, rounds=2000):
    """95 % bootstrap interval of the median; always the same one for the same values."""
    if len(values) < 3:
        return (min(values), max(values))
    generator = random.Random(1)
    medians = sorted(median(generator.choices(values, k=len(values))) for _ in range(rounds))
    return (medians[int(rounds * 0.025)], medians[int(rounds * 0.975)])
