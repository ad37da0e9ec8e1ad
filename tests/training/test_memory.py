from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys, psutil
from training.memory import keep_freed_memory

def resident_mib():
    return psutil.Process().memory_info().rss >> 20

if sys.argv[1] == "kept":
    assert keep_freed_memory()
before = resident_mib()
pieces = [bytearray(b"x") * (16 << 20) for _ in range(16)]
full = resident_mib()
del pieces
print(full - before, resident_mib() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library can be told")
@pytest.mark.parametrize("how", ["kept", "as it comes"])
def test_freed_memory_stays_with_the_process_when_asked_for(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True, timeout=60
    )
    full_mib, left_mib = map(int, done.stdout.split())
    assert full_mib >= 250
    assert (left_mib > 0.9 * full_mib) == (how == "kept"), done.stdout
