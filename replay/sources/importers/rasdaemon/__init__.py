"""Importer of rasdaemon's SQLite database."""

from __future__ import annotations

from .convert import RasdaemonReport, import_rasdaemon
from .decoder import TABLES, Confidence, Reading
from .host import Host, host_of

__all__ = ("TABLES", "Confidence", "Host", "RasdaemonReport", "Reading", "host_of", "import_rasdaemon")
