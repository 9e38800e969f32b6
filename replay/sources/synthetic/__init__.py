"""Traces that were never recorded: machines, walkers, workloads and errors, made from a seed."""
