"""What the kernel keeps for sockets, and how a growing cost is summed up."""

from __future__ import annotations

from pathlib import Path

from tests.bench.fresh import LEVELS, kernel_bytes, portions, slopes

SLABINFO = """\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables
TCP                    100    120   2432   13    8 : tunables    0    0    0
sock_inode_cache       200    220    832   19    4 : tunables    0    0    0
ext4_inode_cache     90000  90000   1200   27    8 : tunables    0    0    0
kmalloc-64              10     64     64   64    1 : tunables    0    0    0
"""


def test_only_what_sockets_need_counts() -> None:
    assert kernel_bytes(SLABINFO) == 100 * 2432 + 200 * 832 + 10 * 64


def test_this_kernels_own_table_is_read() -> None:
    path = Path("/proc/slabinfo")
    try:
        text = path.read_text()
    except PermissionError:
        text = SLABINFO
    assert kernel_bytes(text) > 100_000


def test_no_process_opens_more_clients_than_it_has_descriptors() -> None:
    for level in LEVELS:
        assert sum(portions(level)) == level
        assert max(portions(level)) <= 15_000
    assert list(portions(0)) == []


def test_flat_is_flat_and_growth_is_seen() -> None:
    numbers = {f"cpu_us_{level}": 100.0 for level in LEVELS}
    numbers |= {f"control_us_{level}": 0.1 * level for level in LEVELS}
    found = slopes(numbers, LEVELS)
    assert abs(found["slope"]) < 1e-9
    assert abs(found["control_slope"] - 1) < 1e-9
