"""Attacks on a running proxy, and how its honest clients fare before, during and after each."""
