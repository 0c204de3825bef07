"""The report as Markdown."""

from __future__ import annotations

from proxy.app.bench.rotation import Case, Samples
from tests.bench.table import markdown


def samples() -> Samples:
    found = Samples()
    for subject, values in {"nginx": (200.0, 210.0), "vestibule direct": (100.0, 126.0)}.items():
        for number, value in enumerate(values):
            found.add(number, Case("hello-ecdsa", subject, dict), {"cpu_us": value})
    for level, value in ((1000, 90.0), (60_000, 93.0)):
        numbers = {f"cpu_us_{level}": value, f"control_us_{level}": 200.0}
        found.add(0, Case("scaling", "vestibule direct", dict), numbers)
    found.remarks.append("bulk, nginx, round 1: it rained")
    return found


def rows(text: str, heading: str) -> list[list[str]]:
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]


REPORT = markdown(samples(), {"machine": "a small one"}, ["cpu.svg"])


def test_goals_come_first_with_their_verdicts() -> None:
    head, line, *goals = rows(REPORT, "Goals")
    assert head == ["what", "server", "goal", "measured", "verdict"]
    assert set(line) == {"---"}
    by_what = {(what, server): rest for what, server, *rest in goals}
    assert by_what["CPU per abandoned 300-byte hello, ECDSA", "vestibule direct"] == [
        "<= 0.62",
        "0.55 (0.525-0.575)",
        "met",
    ]
    assert by_what["CPU per GB", "vestibule direct"] == ["<= 0.8", "-", "not measured"]
    assert REPORT.index("## Goals") < REPORT.index("## CPU per")


def test_each_number_has_its_servers_with_spread_and_ratio() -> None:
    assert rows(REPORT, "CPU per abandoned hello, ECDSA, 300-byte hello")[2:] == [
        ["nginx", "205 (202-208) us", "2", "1 (1-1)"],
        ["vestibule direct", "113 (106-120) us", "2", "0.55 (0.525-0.575)"],
    ]


def test_levels_stand_side_by_side() -> None:
    assert rows(REPORT, "CPU per hello by half-open clients (us)") == [
        ["server", "1,000", "60,000"],
        ["---", "---", "---"],
        ["vestibule direct", "90", "93"],
        ["nginx, idle, beside vestibule direct", "200", "200"],
    ]


def test_what_was_not_measured_has_no_section_but_a_remark() -> None:
    assert "## CPU per GB" not in REPORT
    assert REPORT.endswith("## Not measured\n\n- bulk, nginx, round 1: it rained\n")


def test_facts_and_plots_are_named() -> None:
    assert "- machine: a small one\n" in REPORT
    assert "![cpu.svg](cpu.svg)" in REPORT


def test_every_table_is_rectangular() -> None:
    width = 0
    for line in REPORT.splitlines():
        if not line.startswith("|"):
            width = 0
        else:
            width = width or line.count("|")
            assert line.count("|") == width, line
