"""What follows Finished: `python -m tests.fuzz.records -max_total_time=60`."""

from tests.fuzz.harness import main

if __name__ == "__main__":
    main("records")
