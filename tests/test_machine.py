import platform
import subprocess
import sys

import pytest
import torch

from flipbook.machine import device_named

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
