"""The engine against what a user would write instead: on the same columns, in the same run, by turns.

``python -m benchmarks.peers --help``; what the peers are and what the figures mean is in ``docs/performance.md``.
"""
