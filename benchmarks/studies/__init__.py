"""Studies: questions answered with generated traces, and the tables that the answers stand in."""
