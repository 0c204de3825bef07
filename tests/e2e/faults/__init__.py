"""Faults: processes that die, stop or run out of something, under every answer policy."""
