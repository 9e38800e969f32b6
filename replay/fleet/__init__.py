"""Many traces, or one in shares, on many processors: a task runner, and what it is given to run."""
