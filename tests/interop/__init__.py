"""Vestibule before an outside judge: public tlsfuzzer scripts, run by a conformance harness.

    bash tests/interop/run      # fetches what is missing, then runs all: about ten minutes

or, with all at hand,

    VESTIBULE_TLSFUZZER=checkout VESTIBULE_TLSFUZZER_PYTHON=venv/bin/python pytest tests/interop

| variable | what it names |
|---|---|
| `VESTIBULE_TLSFUZZER` | a checkout of tlsfuzzer at the commit that the judge's manifest names |
| `VESTIBULE_TLSFUZZER_PYTHON` | a Python that has `requirements.txt` |
| `VESTIBULE_JUDGE` | the folder of `tls_conformance.py` and its manifest; `../shared/conformance` |

Without them the tests skip. Every answer mode meets every kind of certificate:

- `judge.py` finds the judge, adds `scripts.yaml` to its manifest, runs it and reads its verdict;
- `client.py` runs in the judge's Python, and lets its clients offer ECDSA and answer retries;
- `skips.yaml` lists what does not apply, with the RFC's reason; `skips.py` applies it.
"""
