"""Replay pfn walks, memory hotplug and memory poison as each Linux kernel decides them."""

__version__ = "0.1.0"
