"""Whether a proxy that is never left alone grows: `python -m tests.soak`, 20 minutes.

Outside of what a change has to pass, because of its length.
"""
