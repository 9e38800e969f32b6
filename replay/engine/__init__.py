"""Replays a trace: resolve states, tabulate decisions, gather outcomes. Knows no rule of any kernel."""
