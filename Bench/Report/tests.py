"""Tests of the report: `Bench/run` begins with them."""

import json
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bounds
import plot
import steps
from samples import Samples, interval, median, spread


def samples_of(blocks):
    samples = Samples()
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("# a line for people\n")
        for group, name, side, round, value in blocks:
            block = {"group": group, "name": name, "side": side, "round": round, "median": value, "unit": "us"}
            file.write(json.dumps(block) + "\n")
        file.flush()
        samples.read(file.name)
    return samples


def trips(ours, swtpm):
    blocks = [("round trip", "X", "ours", i, v) for i, v in enumerate(ours)]
    return samples_of(blocks + [("round trip", "X", "swtpm", i, v) for i, v in enumerate(swtpm)])


def trip_verdict(ours, swtpm):
    return next(v for v in bounds.verdicts(trips(ours, swtpm)) if v.what == "round trip, X")


class Statistics(unittest.TestCase):
    def test_outliers_move_neither_median_nor_spread(self):
        self.assertEqual(median([1, 2, 3, 4, 1000]), 3)
        self.assertEqual(spread([1, 2, 3, 4, 1000]), 1)

    def test_interval_holds_the_median_and_narrows(self):
        wide, narrow = interval([0.5, 1, 1.5] * 3), interval([0.99, 1, 1.01] * 3)
        self.assertTrue(wide[0] <= 1 <= wide[1])
        self.assertLess(narrow[1] - narrow[0], wide[1] - wide[0])

    def test_ratios_are_of_the_same_round(self):
        samples = trips([2, 30], [1, 10])
        self.assertEqual(samples.ratios("round trip", "X", "ours", "swtpm"), [2, 3])
        self.assertEqual(trips([2, 30, 7], [1, 10]).ratios("round trip", "X", "ours", "swtpm"), [2, 3])


class Bounds(unittest.TestCase):
    def test_slower_in_each_round_does_not_hold(self):
        self.assertEqual(trip_verdict([1.1] * 9, [1] * 9).result, bounds.FAILS)

    def test_faster_holds(self):
        self.assertEqual(trip_verdict([0.9] * 9, [1] * 9).result, bounds.HOLDS)

    def test_within_the_spread_holds_and_says_so(self):
        verdict = trip_verdict([0.8, 1.3] * 6 + [1.3], [1] * 13)
        self.assertEqual(verdict.result, bounds.HOLDS)
        self.assertIn("within the spread", verdict.note)

    def test_the_third_decimal_does_not_count(self):
        self.assertEqual(trip_verdict([1.001] * 9, [1] * 9).result, bounds.HOLDS)

    def test_what_was_not_measured_is_not_said_to_hold(self):
        for verdict in bounds.verdicts(samples_of([])):
            self.assertEqual(verdict.result, bounds.OPEN, verdict.what)

    def test_memory_is_compared_at_100(self):
        blocks = [("memory", "PSS", side, n, v) for side, n, v in
            [("ours", 100, 3), ("swtpm", 100, 1), ("floor", 100, 1.5), ("ours", 500, 1), ("swtpm", 500, 3)]]
        beside_swtpm, beside_floor = bounds.memory(samples_of(blocks))
        self.assertEqual((beside_swtpm.value, beside_swtpm.result, beside_swtpm.counts), (3, bounds.FAILS, True))
        self.assertIn("1.50", beside_swtpm.note)
        self.assertEqual((beside_floor.value, beside_floor.result, beside_floor.counts), (2, bounds.FAILS, True))

    def test_a_write_is_compared_with_two_bare_processes(self):
        values = {"ours": 6, "swtpm": 2, "two bare processes": 3, "file alone": 1}
        blocks = [("NV_Write without fsync", "NV_Write", side, n, v * n) for side, v in values.items() for n in range(1, 5)]
        beside_swtpm, beside_floor = bounds.writes(samples_of(blocks))
        self.assertEqual((beside_swtpm.value, beside_swtpm.result, beside_swtpm.counts), (3, bounds.FAILS, True))
        self.assertIn("two bare processes take 1.50", beside_swtpm.note)
        self.assertEqual((beside_floor.value, beside_floor.result, beside_floor.counts), (2, bounds.FAILS, True))

    def test_a_self_test_before_the_device_shows(self):
        def result(hook):
            blocks = [("hook", "hook, existing state", "ours", 0, hook), ("hook", "runc create, without hook", "ours", 0, 28)]
            verdicts = bounds.verdicts(samples_of(blocks))
            return next(v for v in verdicts if v.what == "hook, existing state, to runc create without one")

        self.assertEqual((result(24).result, result(24).counts), (bounds.HOLDS, True))
        self.assertEqual(result(24 + 37).result, bounds.FAILS)

    def test_an_absolute_time_does_not_count(self):
        samples = samples_of([("hook", "poststop, existing state", "ours", 0, 51)])
        verdict = next(v for v in bounds.verdicts(samples) if v.what == "poststop")
        self.assertEqual((verdict.result, verdict.counts), (bounds.FAILS, False))

    def test_a_first_start_is_compared_once_there_is_an_EK(self):
        blocks = [("start", "new state, on disk", "ours", 0, 30), ("manufacture", "swtpm_setup and swtpm", "swtpm", 0, 100)]
        for has_key, result in ((0, bounds.OPEN), (1, bounds.FAILS)):
            verdict = bounds.first_start(samples_of(blocks + [("fact", "ours has an EK", "ours", 0, has_key)]))
            self.assertEqual(verdict.result, result)

    def test_one_failed_container_is_enough(self):
        def result(*failed):
            group = "containers at once in the guest"
            blocks = [(group, f"{n}, failed", "ours", 0, v) for n, v in zip((1, 16, 64), failed)]
            # Another's failures are its own.
            blocks += [(group, f"{n}, failed", "swtpm", 0, n) for n in (1, 16, 64)]
            return bounds.none_failed(samples_of(blocks)).result

        self.assertEqual(result(0, 0, 0), bounds.HOLDS)
        self.assertEqual(result(0, 1, 0), bounds.FAILS)
        self.assertEqual(result(0, 1), bounds.FAILS)
        self.assertEqual(result(0, 0), bounds.OPEN)

    def test_a_container_that_failed_in_a_later_round_counts(self):
        group = "containers at once in the guest"
        blocks = [(group, f"{n}, failed", "ours", round, 0) for n in (1, 16, 64) for round in (0, 1)]
        self.assertEqual(bounds.none_failed(samples_of(blocks)).result, bounds.HOLDS)
        blocks[3] = (group, "16, failed", "ours", 1, 2)
        verdict = bounds.none_failed(samples_of(blocks))
        self.assertEqual((verdict.result, verdict.value), (bounds.FAILS, 2))
        self.assertIn("2 of 32 with 16", verdict.note)


class Steps(unittest.TestCase):
    def trace(self, leave_out=()):
        names = {"hook": "vtpm-hook-7", "supervisor": "vtpm-supervisor-8", "worker": "vtpm-worker-9"}
        lines = [
            f"  vtpm-{role}-{pid} [0] ..... 1.000000: sched_process_exec: filename=/p/vtpm-{role} pid={pid} old_pid=1"
            for role, pid in (("hook", 7), ("supervisor", 8), ("worker", 9))
        ]
        lines.insert(0, "  vtpm-hook-3 [0] ..... 0.500000: sched_process_exec: filename=/other/vtpm-hook pid=3 old_pid=3")
        for number, (who, what, _) in enumerate(steps.STEPS):
            if number not in leave_out:
                lines.append(f"  {names[who]} [0] ..... {1 + (number + 1) / 1000:.6f}: {what}")
        return lines

    def test_steps_add_up(self):
        found = steps.split(steps.creation(self.trace(), "/p"))
        whole = dict(found)["all steps"]
        self.assertAlmostEqual(whole, len(steps.STEPS))
        self.assertAlmostEqual(sum(value for name, value in found if name != "all steps"), whole)

    def test_a_missing_event_is_an_error(self):
        for number in range(len(steps.STEPS) - 1):
            if steps.STEPS[number][:2] == steps.STEPS[number - 1][:2]:
                continue
            with self.assertRaises(SystemExit, msg=steps.STEPS[number][1]):
                steps.split(steps.creation(self.trace([number]), "/p"))


class Plot(unittest.TestCase):
    def test_it_is_XML_with_a_bar_for_each_value(self):
        panel = plot.bars("a < b", "µs", {"X": {"ours": 1, "swtpm": 2}})
        tree = xml.etree.ElementTree.fromstring(plot.document([panel, plot.curves("c", "KiB", {"ours": {1: 5, 100: 2}})]))
        bars = [part for part in tree.iter("{http://www.w3.org/2000/svg}rect") if part.get("fill") == plot.COLOURS["ours"]]
        # The second one of each is the legend's.
        self.assertEqual(len(bars), 1 + 2)


if __name__ == "__main__":
    unittest.main()
