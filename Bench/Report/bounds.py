"""The bounds, and whether they hold."""

from samples import interval, median

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be said"

# The commit that is measured beside this one, as a side.
BEFORE = "2ea67b3"

COMMANDS = ("GetRandom", "PCR_Extend", "PCR_Read", "NV_Read", "Sign, ECDSA P-256", "Sign, RSASSA 2048")
# As before or better, but for 5 %: where a process's pages lie is chance, and moves the median of some rounds as much.
TOLERANCE = 1.05
# The number of instances that memory is compared at.
INSTANCES = 100
AT_ONCE = (1, 16, 64)


class Verdict:
    def __init__(self, what, bound, value, result, note=""):
        self.what, self.bound, self.value, self.result, self.note = what, bound, value, result, note
        # An absolute time is shown, and never fails a run: it says as much of the machine as of us.
        self.counts = True

    def breaks(self, partial=False):
        """Whether it fails the run. What was not measured fails it too, if all was to be measured."""
        return self.counts and (self.result == FAILS or self.result == OPEN and not partial)


def not_measured(what, bound):
    return Verdict(what, bound, None, OPEN, "not measured")


def ratio_verdict(what, ratios, bound):
    """A ratio fails where not even its interval reaches down to the bound, to two decimals."""
    if not ratios:
        return not_measured(what, f"≤ {bound:g}")
    value, (low, high) = median(ratios), interval(ratios)
    note = f"{low:.2f} to {high:.2f}" if len(ratios) > 1 else ""
    if round(value, 2) > bound >= round(low, 2):
        note += ", within the spread"
    return Verdict(what, f"≤ {bound:g}", value, HOLDS if round(low, 2) <= bound else FAILS, note)


def count_verdict(what, value, bound, unit=""):
    """What is the same on each machine, and counts as it is."""
    if value is None:
        return not_measured(what, f"≤ {bound:g} {unit}".strip())
    return Verdict(what, f"≤ {bound:g} {unit}".strip(), value, HOLDS if value <= bound else FAILS)


def absolute_verdict(what, values, bound, unit):
    if not values:
        verdict = not_measured(what, f"{bound:g} {unit}")
    else:
        value = median(list(values.values()))
        verdict = Verdict(what, f"{bound:g} {unit}", value, HOLDS if value <= bound else FAILS, "absolute, not counted")
    verdict.counts = False
    return verdict


def verdicts(samples):
    result = memory(samples) + starts(samples)
    result.append(size(samples))
    result.extend(round_trips(samples))
    result.extend(writes(samples))
    result.extend(flushes(samples))
    result.extend(containers(samples))
    result.extend(among_many(samples))
    result.append(first_start(samples))
    result.append(first_start(samples, "from the pool", 0.1))
    result.extend(launches(samples))
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


def memory(samples):
    """PSS and page tables of supervisor and worker, once all TPMs have tested themselves.

    Beside one swtpm, and beside the least that two processes with the same libraries take.
    """

    def whole(side):
        parts = [samples.of("memory", name, side).get(INSTANCES) for name in ("PSS", "page tables")]
        return None if None in parts else sum(parts)

    def ratios(side):
        return [whole("ours") / whole(side)] if whole("ours") and whole(side) else []

    what = f"PSS and page tables at {INSTANCES} instances"
    beside_swtpm = ratio_verdict(f"{what}, to swtpm's", ratios("swtpm"), 1)
    if whole("floor") and whole("swtpm"):
        beside_swtpm.note = f"two bare processes take {whole('floor') / whole('swtpm'):.2f}"
    return [beside_swtpm, ratio_verdict(f"{what}, to two bare processes'", ratios("floor"), 1.15)]


def starts(samples):
    return [
        ratio_verdict(
            f"start to first answer, {name}, to swtpm's", samples.ratios("start", name, "ours", "swtpm"), 1.3
        )
        for name in ("new state, without fsync", "existing state, without fsync")
    ]


def size(samples):
    kibibytes = samples.of("size", "what runs for one TPM", "ours").get(0)
    return count_verdict("what runs for one TPM", kibibytes and kibibytes * 1024 / 1e6, 10, "MB")


def round_trips(samples):
    def verdicts(base, bound, what):
        return [
            ratio_verdict(f"round trip, {name}{what}", samples.ratios("round trip", name, "ours", base), bound)
            for name in COMMANDS
        ]

    return verdicts("swtpm", 1, "") + verdicts(BEFORE, TOLERANCE, f", to {BEFORE}'s")


def writes(samples):
    """Without a disk beside swtpm, and with one beside what the disk takes: swtpm does not wait for it.

    The bare processes have no TPM, and encrypt nothing. They tell what two wake-ups cost.
    """
    memory, disk, name = "NV_Write without fsync", "NV_Write on disk", "NV_Write"
    beside_swtpm = ratio_verdict(f"{memory}, to swtpm's", samples.ratios(memory, name, "ours", "swtpm"), 1.5)
    bare = samples.ratios(memory, name, "two bare processes", "swtpm")
    if bare:
        beside_swtpm.note += f", two bare processes take {median(bare):.2f}"
    ratios = samples.ratios(disk, name, "ours", "without fsync, then file alone")
    return [
        beside_swtpm,
        ratio_verdict(f"{disk}, to one without fsync and one pwrite and fdatasync", ratios, 1.2),
    ] + [
        ratio_verdict(f"{group}, to {BEFORE}'s", samples.ratios(group, name, "ours", BEFORE), TOLERANCE)
        for group in (memory, disk)
    ]


def flushes(samples):
    """How often a disk has to flush on ext4; the index's root, which changes of many at once share, is not in it."""

    def count(name, side="ours"):
        return samples.of("flushes", name, side).get(0)

    return [
        count_verdict("flushes of an NV_Write", count("NV_Write, existing state"), 1),
        count_verdict("flushes of an NV_Write, by ext4's device", count("NV_Write, existing state", "ext4's device"), 1),
        count_verdict("flushes of a start, existing state", count("start, existing state"), 2),
        count_verdict("flushes of a start, new state", count("start, new state"), 5),
        count_verdict("flushes of a stop", count("stop, existing state"), 2),
    ]


def containers(samples):
    """In the guest: the hook beside a hook that starts swtpm by hand, and many at once beside the commit before."""
    group, many = "container in the guest", "containers at once in the guest"
    result = [
        ratio_verdict(f"{group}, {runtime} create, to swtpm's by hand", samples.ratios(group, f"{runtime} create", "ours", "swtpm"), 0.9)
        for runtime in ("runc", "crun")
    ]
    name = f"{max(AT_ONCE)}, until all are created"
    result.append(ratio_verdict(f"{many}, {name}, to {BEFORE}'s", samples.ratios(many, name, "ours", BEFORE), 0.6))
    result.append(none_failed(samples))
    return result


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


def among_many(samples):
    """No cost grows with what is not in use: on a host with 100,000 states, beside one with ten."""
    names = [f"{what}, {state} state" for what in ("start", "list", "stop", "PSS") for state in ("new", "existing")]
    return [
        ratio_verdict(f"among 100,000 states, {name}", samples.ratios("among many", name, "many", "few"), 1.5)
        for name in names
    ]


def launches(samples):
    """What a measured launch costs a start, and with its log and manifest the hook."""
    start = "start of an existing state with a measured launch, to one without"
    hook = "hook of an existing state with a measured launch and a manifest, to one without"
    return [
        more(samples, start, "launch", "measured", "not measured"),
        more(samples, hook, "hook", "hook, existing state", "hook, existing state, not measured"),
    ]


def more(samples, what, group, measured, not_measured_name, bound=5):
    """What something takes more, in milliseconds: a difference, so that it says little of the machine."""
    with_it, without = (samples.of(group, name, "ours") for name in (measured, not_measured_name))
    if not with_it or not without:
        return not_measured(what, f"{bound} ms more")
    value = median([with_it[at] - without[at] for at in with_it if at in without])
    return Verdict(what, f"{bound} ms more", value, HOLDS if value <= bound else FAILS)


def first_start(samples, row="keys and certificates", bound=0.25):
    what = f"first start with both EKs, SRK and certificates{', from the pool' if row == 'from the pool' else ''}"
    ours = samples.of("manufacture", row, "ours")
    theirs = samples.of("manufacture", "swtpm_setup and swtpm", "swtpm")
    if not ours or not theirs:
        return not_measured(what, f"≤ {bound}")
    peer = median(list(theirs.values()))
    return ratio_verdict(what, [value / peer for value in ours.values()], bound)
