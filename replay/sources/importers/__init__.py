"""Importers: one package per format."""
