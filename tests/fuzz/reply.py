"""What follows our flight: `python -m tests.fuzz.reply -max_total_time=60`."""

from tests.fuzz.harness import main

if __name__ == "__main__":
    main("reply")
