"""What a replay is held against: the recording, the truth, another kernel."""
