"""Readings become production events: pure rules, folded per work unit. No I/O, no clock: time comes with the readings."""
