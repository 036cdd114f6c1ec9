import platform
import subprocess
import sys

import pytest
import torch

from flipbook.machine import device_named, free_memory

FAULTS = """
import resource, sys
import numpy as np
from flipbook.machine import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(10_000_000)                     # 80 MB, freed at once: glibc never keeps that much by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
assert keep_freed_memory()
faults()                                        # grow once
print(usual, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_kept_memory_is_used_again_without_page_faults():
    out = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    usual, kept = map(int, out.split())
    assert kept < usual / 10


def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch):
    assert device_named("cpu").type == "cpu"
    with pytest.raises(ValueError, match=r"device='gpu' is not known\. Try 'cpu'"):
        device_named("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device='cuda:1': .*Try 'cpu'"):
        device_named("cuda:1")


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_free_memory_is_what_the_kernel_calls_available(tmp_path):
    write(tmp_path, {"proc/meminfo": "MemTotal:  9000 kB\nMemFree:  100 kB\nMemAvailable:  3000 kB\n", "proc/self/cgroup": "0::/\n"})
    assert free_memory(root=tmp_path) == 3000 * 1024
    assert free_memory(root=tmp_path / "nowhere") is None


@pytest.mark.parametrize("path", ["/", "/job/step", "/of/another/view"])
def test_the_limit_of_a_container_counts_less_what_is_used_but_for_cached_files(tmp_path, path):
    write(tmp_path, {"proc/meminfo": "MemAvailable: 3000 kB\n", "proc/self/cgroup": f"0::{path}\n"})
    write(tmp_path / "sys/fs/cgroup", {"memory.max": "900000\n", "memory.current": "700000\n", "memory.stat": "anon 5\ninactive_file 50000\n"})
    write(tmp_path / "sys/fs/cgroup/job/step", {"memory.max": "max\n", "memory.current": "600000\n"})
    assert free_memory(root=tmp_path) == 250_000
    write(tmp_path / "sys/fs/cgroup/job", {"memory.max": "650000\n", "memory.current": "600000\n"})
    assert free_memory(root=tmp_path) == (50_000 if path == "/job/step" else 250_000)


def test_the_limit_of_an_older_container_counts_too(tmp_path):
    write(tmp_path, {"proc/meminfo": "MemAvailable: 3000 kB\n", "proc/self/cgroup": "9:cpu,cpuacct:/x\n4:memory:/x\n"})
    write(
        tmp_path / "sys/fs/cgroup/memory",
        {"memory.limit_in_bytes": "800000\n", "memory.usage_in_bytes": "700000\n", "memory.stat": "total_inactive_file 1000\ninactive_file 7\n"},
    )
    assert free_memory(root=tmp_path) == 101_000
