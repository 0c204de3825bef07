"""The first bytes of a connection: `python -m tests.fuzz.hello -max_total_time=60`."""

from tests.fuzz.harness import main

if __name__ == "__main__":
    main("hello")
