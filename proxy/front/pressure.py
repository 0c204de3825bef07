"""Whether a front is under pressure: what an adaptive listener answers by.

Three signals, each with a threshold: half-open clients, the delay of the loop, and the share of
answered clients that go away without a reply. One that reaches its threshold is enough to begin, at
the look that sees it; to end, all must have been below half of theirs at every look for a while,
so that honest bursts do not pay a round trip and a flood that breathes does not switch to and fro.
A delay counts only where hellos can have made it: of a slow log or a busy machine no retry cures.
Rules: no clock, no I/O; constant memory and constant cost, however many are answered; ``now`` is
monotonic seconds. Time in which nobody looked proves nothing: it is neither busy nor calm.
"""

from typing import Final

from proxy.front.settings import PressureSettings

__all__ = ["Pressure"]

# What happened in the last second is told to within one bucket.
_BUCKETS: Final = 20
_BUCKET_S: Final = 0.05
_WINDOW_S: Final = _BUCKETS * _BUCKET_S


class Pressure:
    """The state of one front process."""

    __slots__ = (
        "_abandoned_before",
        "_abandoned_ring",
        "_abandoned_seen",
        "_answered_before",
        "_answered_ring",
        "_answered_seen",
        "_bucket",
        "_bucket_ends_s",
        "_calm_since_s",
        "_lag_s",
        "_looked_s",
        "abandoned",
        "active",
        "answered",
        "entered",
        "left",
        "reason",
        "settings",
    )

    def __init__(self, settings: PressureSettings, now: float) -> None:
        self.settings = settings
        """Replaced by a reload; the next look judges by them."""
        self.active = False
        """Under pressure: first hellos are answered by HelloRetryRequest."""
        self.reason = ""
        """What began it last: "half_open", "lag" or "abandoned"; empty before the first time."""
        self.entered = 0
        """How often it began."""
        self.left = 0
        """How often it ended."""
        self.answered = 0
        """First hellos answered, by whichever answer; counted up by the front."""
        self.abandoned = 0
        """Clients that were answered and then went, or expired, before their reply or their second
        hello; counted up by the front."""
        self._lag_s = 0.0
        # The counts as they were one window ago, and at the end of each bucket since.
        self._answered_before = self._abandoned_before = 0
        self._answered_ring = [0] * _BUCKETS
        self._abandoned_ring = [0] * _BUCKETS
        self._bucket = 0
        self._bucket_ends_s = now + _BUCKET_S
        # At the last look, when the last busy look was, and the counts there.
        self._looked_s = self._calm_since_s = now
        self._answered_seen = self._abandoned_seen = 0

    def lagged(self, lag_s: float) -> None:
        """The loop was late by this, in its own CPU time: the length of a turn, or for how long the
        accept queue has not been empty."""
        if lag_s > self._lag_s:
            self._lag_s = lag_s

    def look(self, half_open: int, now: float) -> bool:
        """Judge anew; True when ``active`` has changed.

        To be called every 50 ms and after each turn with new answers. ``half_open`` are all clients
        between their first hello and their reply: those asked for a second hello count too, or a
        flood that falls silent after HelloRetryRequest would end the pressure that it makes.
        """
        if not 0.0 <= now - self._looked_s < _WINDOW_S:
            self._look_afresh(now)
        elif now >= self._bucket_ends_s:
            self._turn_ring(now)
        self._looked_s = now
        lag_s = self._lag_s
        self._lag_s = 0.0
        self._answered_seen = self.answered
        self._abandoned_seen = self.abandoned
        answered = self._answered_seen - self._answered_before
        abandoned = self._abandoned_seen - self._abandoned_before
        if self.active:
            if self._is_busy(half_open, lag_s, answered, abandoned):
                self._calm_since_s = now
                return False
            if now - self._calm_since_s < self.settings.calm_s:
                return False
            self.active = False
            self.left += 1
            return True
        reason = self._cause(half_open, lag_s, answered, abandoned)
        if not reason:
            return False
        self.active = True
        self.reason = reason
        self.entered += 1
        self._calm_since_s = now
        return True

    def _cause(self, half_open: int, lag_s: float, answered: int, abandoned: int) -> str:
        """The signal that has reached its threshold, if one has."""
        settings = self.settings
        if half_open >= settings.half_open:
            return "half_open"
        if lag_s >= settings.lag_s and 2 * answered >= settings.answers_per_s:
            return "lag"
        if answered >= settings.answers_per_s and abandoned > answered * settings.abandoned_share:
            return "abandoned"
        return ""

    def _is_busy(self, half_open: int, lag_s: float, answered: int, abandoned: int) -> bool:
        """Whether a signal is not below half of its threshold.

        Half of the answers too: fewer are too few to judge by, whatever their share, and cost
        little. Not half of the half-open ones, because a client that is asked for a second hello is
        half open for two round trips instead of one.
        """
        settings = self.settings
        return half_open >= settings.half_open or (
            2 * answered >= settings.answers_per_s
            and (
                2 * lag_s >= settings.lag_s or 2 * abandoned >= answered * settings.abandoned_share
            )
        )

    def _turn_ring(self, now: float) -> None:
        """Close the buckets that have ended.

        They get the counts of the last look: what was counted since is of the present bucket.
        """
        ended = 1 + int((now - self._bucket_ends_s) / _BUCKET_S)
        for _ in range(min(ended, _BUCKETS)):
            bucket = self._bucket
            self._answered_before = self._answered_ring[bucket]
            self._abandoned_before = self._abandoned_ring[bucket]
            self._answered_ring[bucket] = self._answered_seen
            self._abandoned_ring[bucket] = self._abandoned_seen
            self._bucket = (bucket + 1) % _BUCKETS
        self._bucket_ends_s += ended * _BUCKET_S

    def _look_afresh(self, now: float) -> None:
        """Nobody looked for a whole window (the process was stopped), or time went back."""
        self._answered_before = self._answered_seen
        self._abandoned_before = self._abandoned_seen
        self._answered_ring = [self._answered_seen] * _BUCKETS
        self._abandoned_ring = [self._abandoned_seen] * _BUCKETS
        self._bucket_ends_s = now + _BUCKET_S
        self._calm_since_s = now
