"""Importers of events that other tools printed: ftrace, trace-cmd and perf text, kernel logs."""
