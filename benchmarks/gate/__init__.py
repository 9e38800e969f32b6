"""The gate: runs the asv suite, and says what got slower, larger or wrong between two commits."""
