"""How many cores there are, by the files of control groups as different systems have them."""

import os
import threading

import pytest

from engine.profiling import cores
from engine.profiling.cores import Cores, cgroup_quota, cores_of_process, queued_s, stolen_by_others

# Content of /proc/self/cgroup, files below /sys/fs/cgroup, and the quota that follows.
GROUPS = {
    "none": ("0::/\n", {}, None),
    "version 2": ("0::/box\n", {"box/cpu.max": "150000 100000"}, 1.5),
    "version 2, no limit": ("0::/box\n", {"box/cpu.max": "max 100000"}, None),
    "the one around it is tighter": (
        "0::/a/b\n",
        {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"},
        0.5,
    ),
    "a path that a container does not see": ("0::/../../outside\n", {"cpu.max": "200000 100000"}, 2.0),
    "version 1": (
        "4:cpu,cpuacct:/box\n1:name=systemd:/x\n",
        {"cpu,cpuacct/box/cpu.cfs_quota_us": "300000", "cpu,cpuacct/box/cpu.cfs_period_us": "100000"},
        3.0,
    ),
    "version 1, no limit": (
        "1:cpu:/\n0::/\n",
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        None,
    ),
    "nonsense": ("0::/\nwhat\n", {"cpu.max": "a b"}, None),
    "too few words": ("0::/\n", {"cpu.max": "100000"}, None),
}


@pytest.mark.parametrize("case", GROUPS)
def test_quota(tmp_path, case):
    groups, files, quota = GROUPS[case]
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert cgroup_quota(tmp_path / "proc", tmp_path / "sys") == quota


@pytest.mark.parametrize(("quota", "usable"), [(None, 2), (1.5, 1.5), (8.0, 2), (0.0001, 0.01)])
def test_cores_of_the_process(monkeypatch, quota, usable):
    monkeypatch.setattr(cores, "cgroup_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert cores_of_process() == Cores(2, usable)


def test_what_others_take(monkeypatch):
    busy = iter([100.0, 106.0, 103.0, None])
    monkeypatch.setattr(cores, "busy_s", lambda ours: next(busy))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    since = stolen_by_others()
    assert since(4.0, 2.0) == 1.0
    assert since(4.0, 5.0) == 0.0  # ticks are coarse: never less than none
    assert since(4.0, 1.0) == 0.0  # the file is gone


def test_busy_seconds_of_some_cores(tmp_path):
    tick = os.sysconf("SC_CLK_TCK")
    rows = ["cpu 9 9 9 9 9 9 9 9 0 0", *(f"cpu{i} {tick} {tick} 0 7 7 0 {tick} {i} 0 0" for i in range(3)), "intr 5"]
    (tmp_path / "stat").write_text("\n".join(rows))
    assert cores.busy_s({0, 1}, tmp_path) == pytest.approx(6 + 1 / tick)
    assert cores.busy_s({7}, tmp_path) is None
    assert cores.busy_s({0}, tmp_path / "nowhere") is None


def test_a_thread_knows_how_long_it_had_no_core():
    found = []

    def ask():
        found.append(queued_s())
        os.sched_yield()
        found.append(queued_s())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    if found[0] is None:
        pytest.skip("this system does not tell")
    assert 0 <= found[0] <= found[1]
