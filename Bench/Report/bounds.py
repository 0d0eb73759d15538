"""The bounds, and whether they hold."""

from samples import interval, median

# Chosen before it was measured (1.70), to tell when we grow.
WRITE_LIMIT = 1.75

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be said"


class Verdict:
    def __init__(self, what, bound, value, result, note=""):
        self.what, self.bound, self.value, self.result, self.note = what, bound, value, result, note
        # An absolute time is shown, and never fails a run: it says as much of the machine as of us.
        self.counts = True


def ratio_verdict(what, ratios, bound):
    """A ratio fails where not even its interval reaches down to the bound, to two decimals."""
    if not ratios:
        return Verdict(what, f"≤ {bound:g}", None, OPEN, "not measured")
    value, (low, high) = median(ratios), interval(ratios)
    note = f"{low:.2f} to {high:.2f}" if len(ratios) > 1 else ""
    if round(value, 2) > bound >= round(low, 2):
        note += ", within the spread"
    return Verdict(what, f"≤ {bound:g}", value, HOLDS if round(low, 2) <= bound else FAILS, note)


def absolute_verdict(what, values, bound, unit):
    if not values:
        verdict = Verdict(what, f"{bound:g} {unit}", None, OPEN, "not measured")
    else:
        value = median(list(values.values()))
        verdict = Verdict(what, f"{bound:g} {unit}", value, HOLDS if value <= bound else FAILS, "absolute, not counted")
    verdict.counts = False
    return verdict


def verdicts(samples):
    result = [
        ratio_verdict(f"round trip, {name}", samples.ratios("round trip", name, "ours", "swtpm"), 1)
        for name in samples.names("round trip")
    ]
    result.extend(writes(samples))
    result.extend(memory(samples))
    result.extend(among_many(samples))
    result.append(first_start(samples))
    result.append(none_failed(samples))
    hook = samples.of("hook", "hook, existing state", "ours")
    result.append(absolute_verdict("hook, existing state, without the kernel", hook, 25, "ms"))
    # What would show in it counts all the same: a self-test before the device would double it.
    bare = samples.of("hook", "runc create, without hook", "ours")
    ratios = [median(list(hook.values())) / median(list(bare.values()))] if hook and bare else []
    result.append(ratio_verdict("hook, existing state, to runc create without one", ratios, 1.25))
    result.append(absolute_verdict("poststop", samples.of("hook", "poststop, existing state", "ours"), 50, "ms"))
    verb = samples.of("wrapper", "a verb that creates nothing, more", "ours")
    result.append(absolute_verdict("a verb that creates nothing, through vtpm-runtime", verb, 2, "ms more"))
    return result


def writes(samples):
    """Beside swtpm, which is the design's bound, and beside the least that takes a command that another process writes for.

    On disk it is not compared: swtpm does not wait for the disk. The two bare processes have no TPM, and encrypt nothing
    (docs/decisions.md).
    """
    what, group, name = "round trip, NV_Write without fsync", "NV_Write without fsync", "NV_Write"
    beside_swtpm = ratio_verdict(what, samples.ratios(group, name, "ours", "swtpm"), 1)
    floor = samples.ratios(group, name, "two bare processes", "swtpm")
    if floor:
        beside_swtpm.note += f", two bare processes take {median(floor):.2f}"
    beside_floor = samples.ratios(group, name, "ours", "two bare processes")
    return [beside_swtpm, ratio_verdict("NV_Write without fsync, to two bare processes'", beside_floor, WRITE_LIMIT)]


def memory(samples):
    """Beside one swtpm, which is the design's bound, and beside the least that two processes can take.

    Two processes that map Debian's libcrypto take more than one swtpm with nothing of ours in them (docs/decisions.md).
    """
    pss = {side: samples.of("memory", "PSS", side).get(100) for side in ("ours", "swtpm", "floor")}

    def ratio(side):
        return [pss["ours"] / pss[side]] if pss["ours"] and pss[side] else []

    beside_swtpm = ratio_verdict("PSS at 100 instances, to swtpm's", ratio("swtpm"), 1)
    if pss["floor"] and pss["swtpm"]:
        beside_swtpm.note = f"two bare processes take {pss['floor'] / pss['swtpm']:.2f}"
    return [beside_swtpm, ratio_verdict("PSS at 100 instances, to two bare processes'", ratio("floor"), 1.5)]


def among_many(samples):
    """No cost grows with what is not in use: on a host with 100,000 states, beside one with ten."""
    names = [f"{what}, {state} state" for what in ("start", "list", "stop", "PSS") for state in ("new", "existing")]
    return [
        ratio_verdict(f"among 100,000 states, {name}", samples.ratios("among many", name, "many", "few"), 1.5)
        for name in names
    ]


AT_ONCE = (1, 16, 64)


def none_failed(samples):
    """Of all that were created at once; each number of them has to have been tried."""
    what = "containers at once in the guest, failed"
    failed, tried = {}, {}
    for size in AT_ONCE:
        rounds = samples.of("containers at once in the guest", f"{size}, failed", "ours").values()
        failed[size], tried[size] = sum(rounds), size * len(rounds)
    note = ", ".join(f"{failed[size]:g} of {tried[size]} with {size}" for size in AT_ONCE if tried[size])
    if any(failed.values()):
        return Verdict(what, "0", sum(failed.values()), FAILS, note)
    if not all(tried.values()):
        return Verdict(what, "0", None, OPEN, note or "not measured")
    return Verdict(what, "0", 0, HOLDS, note)


def first_start(samples):
    what = "first start with EK, SRK and certificates"
    if samples.of("fact", "ours has an EK", "ours").get(0) != 1:
        return Verdict(what, "≤ 0.25", None, OPEN, "ours makes no EK and no certificates yet")
    ours = samples.of("start", "new state, on disk", "ours")
    theirs = samples.of("manufacture", "swtpm_setup and swtpm", "swtpm")
    if not ours or not theirs:
        return Verdict(what, "≤ 0.25", None, OPEN, "not measured")
    peer = median(list(theirs.values()))
    return ratio_verdict(what, [value / peer for value in ours.values()], 0.25)
