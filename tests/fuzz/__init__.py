"""Fuzzing: any bytes end in a value, an event, bytes or our error, and what is accepted is right.

    python -m tests.fuzz --seconds 60           every target, each as a process of its own
    python -m tests.fuzz.replay hello FILE      one input, with an ordinary traceback
    python -m tests.fuzz.coverage               what corpus and found inputs reach, as a table
    python -m tests.fuzz.record                 hellos and replies of the clients installed here
    python -m tests.fuzz.seed                   the generated part of the corpus

A target is one function over bytes (`targets.py` lists them); what it asserts is more than the
absence of a traceback: an independent reading agrees, segmentation changes nothing, what decodes
encodes to the same bytes. Runs need atheris, an optional dependency (it does not build on every
Python); everything else does not. The corpus is replayed by an ordinary test; what a run finds is
added to it by hand, with its fix.
"""
