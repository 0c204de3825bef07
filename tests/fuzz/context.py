"""The byte form of a context: `python -m tests.fuzz.context -max_total_time=60`."""

from tests.fuzz.harness import main

if __name__ == "__main__":
    main("context")
