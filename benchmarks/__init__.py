"""Benchmarks: workloads, the asv suite, and the comparison with other ways to do the same."""
