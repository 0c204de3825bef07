"""Fuzzing the engine: `python -m tests.fuzz.hello -max_total_time=60`, and reply, records, context.

Each target is one invariant of tests/fuzz/invariant.py driven by atheris (an optional dependency:
it does not build on every Python). The corpus under tests/fuzz/corpus/ is replayed through the
same invariants by an ordinary test; what a run finds is added there by hand, with its fix.
"""
