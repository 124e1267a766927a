"""Removing units: from a network whose units are zero to a smaller one with the same outputs."""
