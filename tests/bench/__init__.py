"""What hellos, handshakes, requests and bytes cost, side by side with other proxies.

    python -m tests.bench --help

Nothing here is a timed test: what pytest collects in this directory are the tests of the tool.
"""
