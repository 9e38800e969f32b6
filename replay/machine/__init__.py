"""The memory: geometry, sections, pagemaps, resources, blocks. Knows layouts, no kernel version."""
