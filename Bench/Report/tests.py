"""Tests of the report: `Bench/run` begins with them."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bounds
import plot
import steps
from samples import Samples, interval, median, spread


def write(blocks, path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("# a line for people\n")
        for group, name, side, round, value in blocks:
            block = {"group": group, "name": name, "side": side, "round": round, "median": value, "unit": "us"}
            file.write(json.dumps(block) + "\n")


def samples_of(blocks):
    samples = Samples()
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        write(blocks, file.name)
        samples.read(file.name)
    return samples


def trips(ours, swtpm):
    blocks = [("round trip", "GetRandom", "ours", i, v) for i, v in enumerate(ours)]
    return samples_of(blocks + [("round trip", "GetRandom", "swtpm", i, v) for i, v in enumerate(swtpm)])


def verdict_of(what, blocks):
    return next(v for v in bounds.verdicts(samples_of(blocks)) if v.what == what)


def trip_verdict(ours, swtpm):
    return next(v for v in bounds.verdicts(trips(ours, swtpm)) if v.what == "round trip, GetRandom")


def all_that_is_bounded(worse=()):
    """Measurements with which each bound holds, but for the names of `worse`, which are ten times as much for ours."""
    pairs = [("round trip", name) for name in bounds.COMMANDS]
    pairs += [("start", f"{state} state, {where}") for state in ("new", "existing") for where in ("on disk", "without fsync")]
    pairs += [("NV_Write without fsync", "NV_Write"), ("NV_Write on disk", "NV_Write")]
    pairs += [("container in the guest", f"{runtime} create") for runtime in ("runc", "crun")]
    pairs += [("containers at once in the guest", "64, until all are created")]
    blocks = []
    for group, name in pairs:
        ours = 0.5 * (10 if (group, name) in worse or name in worse else 1)
        for side, value in (("ours", ours), ("swtpm", 1), (bounds.BEFORE, 1), ("without fsync, then file alone", 1)):
            blocks += [(group, name, side, round, value) for round in range(3)]
    for name in ("PSS", "page tables"):
        ours = 10 if name in worse else 1
        blocks += [("memory", name, side, 100, value) for side, value in (("ours", ours), ("swtpm", 1), ("floor", 1))]
    flushes = {"NV_Write": 1, "start, existing state": 2, "start, new state": 5, "stop, existing state": 2}
    flushes["NV_Write, existing state"] = flushes.pop("NV_Write")
    for name, value in flushes.items():
        blocks.append(("flushes", name, "ours", 0, value + (name in worse)))
    blocks.append(("flushes", "NV_Write, existing state", "ext4's device", 0, 1 + ("device" in worse)))
    blocks.append(("size", "what runs for one TPM", "ours", 0, 5000 * (2 if "size" in worse else 1)))
    for size in bounds.AT_ONCE:
        blocks.append(("containers at once in the guest", f"{size}, failed", "ours", 0, 0))
    for what in ("start", "list", "stop", "PSS"):
        for state in ("new", "existing"):
            blocks += [("among many", f"{what}, {state} state", side, 0, 1) for side in ("many", "few")]
    blocks += [("manufacture", "from the pool", "ours", 0, 9)]
    blocks += [("launch", "measured", "ours", 0, 20 if "launch" in worse else 9), ("launch", "not measured", "ours", 0, 6)]
    blocks += [("manufacture", "keys and certificates", "ours", 0, 24), ("manufacture", "swtpm_setup and swtpm", "swtpm", 0, 100)]
    blocks.append(("hook", "hook, existing state", "ours", 0, 8 if "manifest" in worse else 1))
    blocks.append(("hook", "hook, existing state, not measured", "ours", 0, 1))
    blocks += [("hook", "runc create, without hook", "ours", 0, 1)]
    return blocks


def broken(blocks, partial=False):
    return [v.what for v in bounds.verdicts(samples_of(blocks)) if v.breaks(partial)]


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
        self.assertEqual(samples.ratios("round trip", "GetRandom", "ours", "swtpm"), [2, 3])
        self.assertEqual(trips([2, 30, 7], [1, 10]).ratios("round trip", "GetRandom", "ours", "swtpm"), [2, 3])


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

    def test_all_of_them_can_hold(self):
        self.assertEqual(broken(all_that_is_bounded()), [])

    def test_each_one_can_fail_and_is_named(self):
        at_once = "containers at once in the guest, 64, until all are created, to 2ea67b3's"
        memory = "PSS and page tables at 100 instances, to "
        durable = "NV_Write on disk, to one without fsync and one pwrite and fdatasync"
        cases = {
            "PSS": [memory + "swtpm's", memory + "two bare processes'"],
            "page tables": [memory + "swtpm's", memory + "two bare processes'"],
            "new state, without fsync": ["start to first answer, new state, without fsync, to swtpm's"],
            "existing state, without fsync": ["start to first answer, existing state, without fsync, to swtpm's"],
            "size": ["what runs for one TPM"],
            ("NV_Write without fsync", "NV_Write"): ["NV_Write without fsync, to swtpm's", "NV_Write without fsync, to 2ea67b3's"],
            ("NV_Write on disk", "NV_Write"): [durable, "NV_Write on disk, to 2ea67b3's"],
            "NV_Write, existing state": ["flushes of an NV_Write"],
            "device": ["flushes of an NV_Write, by ext4's device"],
            "start, existing state": ["flushes of a start, existing state"],
            "start, new state": ["flushes of a start, new state"],
            "stop, existing state": ["flushes of a stop"],
            "runc create": ["container in the guest, runc create, to swtpm's by hand"],
            "crun create": ["container in the guest, crun create, to swtpm's by hand"],
            "64, until all are created": [at_once],
        }
        for name in bounds.COMMANDS:
            cases[name] = [f"round trip, {name}", f"round trip, {name}, to 2ea67b3's"]
        for worse, names in cases.items():
            self.assertEqual(broken(all_that_is_bounded([worse])), names, worse)

    def test_what_was_not_measured_fails_unless_a_part_was_asked_for(self):
        blocks = all_that_is_bounded()
        for group in {block[0] for block in blocks} - {"fact"}:
            left = [block for block in blocks if block[0] != group]
            self.assertTrue(broken(left), group)
            self.assertEqual(broken(left, partial=True), [], group)
        verdict = verdict_of("what runs for one TPM", [])
        self.assertEqual((verdict.result, verdict.note, verdict.breaks()), (bounds.OPEN, "not measured", True))

    def test_a_part_that_was_measured_fails_all_the_same(self):
        left = [block for block in all_that_is_bounded(["PSS"]) if block[0] == "memory"]
        self.assertEqual(len(broken(left, partial=True)), 2)

    def test_memory_is_compared_at_100_with_its_page_tables(self):
        values = {"ours": (3, 1), "swtpm": (1, 1), "floor": (1.5, 0.5)}
        blocks = [("memory", name, side, 100, v) for side, both in values.items() for name, v in zip(("PSS", "page tables"), both)]
        blocks += [("memory", name, side, 500, 1) for side in values for name in ("PSS", "page tables")]
        beside_swtpm, beside_floor = bounds.memory(samples_of(blocks))
        self.assertEqual((beside_swtpm.value, beside_swtpm.result), (2, bounds.FAILS))
        self.assertIn("1.00", beside_swtpm.note)
        self.assertEqual((beside_floor.value, beside_floor.result), (2, bounds.FAILS))

    def test_as_before_has_a_tolerance(self):
        for ours, result in ((1.05, bounds.HOLDS), (1.06, bounds.FAILS)):
            blocks = [("round trip", "NV_Read", side, n, v) for side, v in (("ours", ours), (bounds.BEFORE, 1)) for n in range(9)]
            self.assertEqual(verdict_of("round trip, NV_Read, to 2ea67b3's", blocks).result, result)

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
        self.assertEqual((verdict.result, verdict.breaks()), (bounds.FAILS, False))

    def test_a_first_start_is_compared_with_swtpm_setup(self):
        def result(row, bound, ours):
            blocks = [("manufacture", row, "ours", 0, ours), ("manufacture", "swtpm_setup and swtpm", "swtpm", 0, 100)]
            return bounds.first_start(samples_of(blocks), row, bound).result

        for row, bound in (("keys and certificates", 0.25), ("from the pool", 0.1)):
            good, bad = (result(row, bound, factor * 100 * bound) for factor in (0.9, 1.5))
            self.assertEqual((good, bad), (bounds.HOLDS, bounds.FAILS))
        self.assertEqual(bounds.first_start(samples_of([])).result, bounds.OPEN)

    def test_a_measured_launch_may_cost_five_milliseconds(self):
        def result(measured):
            blocks = [("launch", "measured", "ours", 0, measured), ("launch", "not measured", "ours", 0, 6)]
            blocks += [("hook", "hook, existing state", "ours", 0, measured + 9)]
            blocks += [("hook", "hook, existing state, not measured", "ours", 0, 15)]
            return [(verdict.result, verdict.breaks()) for verdict in bounds.launches(samples_of(blocks))]

        self.assertEqual(result(10.9), [(bounds.HOLDS, False)] * 2)
        self.assertEqual(result(11.1), [(bounds.FAILS, True)] * 2)
        self.assertEqual([verdict.result for verdict in bounds.launches(samples_of([]))], [bounds.OPEN] * 2)

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


class Command(unittest.TestCase):
    def run_report(self, blocks, *options):
        with tempfile.TemporaryDirectory() as folder:
            write(blocks, f"{folder}/samples.jsonl")
            command = [sys.executable, pathlib.Path(__file__).parent, folder, f"{folder}/samples.jsonl", *options]
            return subprocess.run(command, capture_output=True, text=True)

    def test_it_succeeds_where_all_hold(self):
        result = self.run_report(all_that_is_bounded())
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_it_fails_and_says_which(self):
        result = self.run_report(all_that_is_bounded(["size"]))
        line = "bench: a bound does not hold: what runs for one TPM is to be ≤ 10 MB, and it is 10.24\n"
        self.assertEqual((result.returncode, result.stderr), (1, line))

    def test_it_fails_for_what_is_missing(self):
        left = [block for block in all_that_is_bounded() if block[0] != "size"]
        line = "bench: a bound does not hold: what runs for one TPM is to be ≤ 10 MB, and it was not measured\n"
        result = self.run_report(left)
        self.assertEqual((result.returncode, result.stderr), (1, line))
        self.assertEqual(self.run_report(left, "--partial").returncode, 0)


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
