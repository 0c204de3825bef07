"""The bar, on a terminal and elsewhere."""

from __future__ import annotations

import io

from proxy.app.bench.progress import Progress


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_each_step_over_the_last_and_nothing_in_the_end() -> None:
    terminal = Terminal()
    with Progress(4, terminal) as progress:
        for name in ("one", "two", "three", "four"):
            progress.step(name)
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines == [
        "",
        f"[{'.' * 24}]   0%  one",
        f"[{'#' * 6}{'.' * 18}]  25%  two",
        f"[{'#' * 12}{'.' * 12}]  50%  three",
        f"[{'#' * 18}{'.' * 6}]  75%  four",
        "",
    ]


def test_a_line_is_never_wider_than_the_terminal() -> None:
    terminal = Terminal()
    with Progress(1, terminal) as progress:
        progress.step("x" * 5000)
    assert max(map(len, terminal.getvalue().split("\r\x1b[K"))) < 1000


def test_more_steps_than_expected_are_no_error() -> None:
    terminal = Terminal()
    with Progress(1, terminal) as progress:
        for _ in range(3):
            progress.step("again")
    assert "100%  again" in terminal.getvalue()


def test_nothing_is_written_where_nobody_watches() -> None:
    file = io.StringIO()
    with Progress(1, file) as progress:
        progress.step("one")
    assert file.getvalue() == ""
