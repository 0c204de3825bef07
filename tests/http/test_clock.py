"""The Date field's value."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from proxy.http.clock import HttpDate, http_date


def test_the_date_is_now_in_the_preferred_format() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    text = http_date()
    after = datetime.now(UTC)
    assert before <= parsedate_to_datetime(text.decode()) <= after
    assert text.endswith(b" GMT")
    assert len(text) == 29


def test_the_text_is_made_once_per_second() -> None:
    date = HttpDate()
    while True:
        second = int(time.time())
        texts = [date.now() for _ in range(2)]
        if int(time.time()) == second:
            break
    assert texts[0] is texts[1]
