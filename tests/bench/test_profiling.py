"""Profiles out of stacks."""

from __future__ import annotations

from tests.bench.profiling import by_function

STACKS = """\
main (app.py);serve (app.py);sign (tls/credentials.py) 6
main (app.py);serve (app.py) 1
main (app.py);serve (app.py);sign (tls/credentials.py) 1
LineWriter._run (telemetry/writer.py) 500
main (app.py);Runner.run (asyncio/runners.py) 500
"""


def test_functions_by_their_own_share_without_who_waits() -> None:
    assert by_function(STACKS).splitlines() == [
        " 87.50%  sign (tls/credentials.py)",
        " 12.50%  serve (app.py)",
    ]


def test_no_stacks() -> None:
    assert by_function("") == "\n"
