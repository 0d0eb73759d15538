"""Splits the hook's time by step, from the kernel's trace of one creation.

    python3 Bench/Report/steps.py PROGRAMS GROUP ROUND <TRACE

Prints lines of JSON as `vtpm-bench` does. A step ends with the first event of its kind after the step before it; an
event that never came is an error, since the steps would then mean something else.
"""

import json
import re
import sys

LINE = re.compile(r"^\s*(?P<comm>.+)-(?P<pid>\d+)\s+\[\d+\]\s+\S+\s+(?P<time>[\d.]+): (?P<what>.*)$")

# Who, what the event begins with, and the name of the step that it ends. The supervisor and the worker are started first
# and load beside what the hook reads: their steps are what is left of that.
STEPS = [
    ("hook", "sys_close_range(", "the hook's program starts"),
    ("hook", "sys_sendmsg(", "configuration, bundle, state ID, key"),
    ("supervisor", "sys_recvmsg ->", "the supervisor's program starts"),
    ("worker", "sys_recvmsg ->", "the worker's program starts"),
    ("worker", "sys_sendmsg(", "the worker is confined, the state is read"),
    ("hook", "sys_recvmsg ->", "the TPM starts up and is stored"),
    ("hook", "sys_ioctl -> 0x0", "the kernel makes the device"),
    ("hook", "sys_renameat(", "the kernel registers the device; lease"),
    ("hook", "sys_unshare(", ""),
    ("hook", "sys_setns(", ""),
    ("hook", "sys_setns ->", ""),
    ("hook", "sys_setns ->", "nodes"),
    ("supervisor", "sys_unlinkat(", "device cgroup"),
    ("hook", "sched_process_exit", "commit, end"),
]


def creation(lines, programs):
    """The events of the first hook and of what it started: (time, who, what)."""
    roles, events, seen = {}, [], set()
    for line in lines:
        match = LINE.match(line)
        if not match:
            continue
        pid, what = match["pid"], match["what"]
        if what.startswith("sched_process_exec") and f"filename={programs}/" in what:
            role = re.search(r"vtpm-(\w+)", what.split("filename=")[1].split()[0].rsplit("/", 1)[1])[1]
            # The hook's own child, which tries the devices, is a hook by name.
            roles[pid] = role if role not in seen else "other"
            seen.add(role)
        if pid in roles:
            events.append((float(match["time"]) * 1000, roles[pid], what))
    return events


def split(events):
    start = next(time for time, role, what in events if role == "hook")
    last, position, steps, whole = start, 0, [], start
    for who, beginning, name in STEPS:
        while position < len(events):
            time, role, what = events[position]
            position += 1
            if role == who and what.startswith(beginning):
                break
        else:
            sys.exit(f"steps: cannot find '{beginning}' of the {who} in the trace")
        if name:
            steps.append((name, time - last))
            last = time
        whole = time
    return steps + [("all steps", whole - start)]


def main():
    programs, group, number = sys.argv[1:4]
    for name, value in split(creation(sys.stdin, programs)):
        block = {"group": group, "name": name, "side": "ours", "unit": "ms", "round": int(number), "count": 1}
        print(json.dumps(block | {"median": value, "low": value, "high": value}))


if __name__ == "__main__":
    main()
