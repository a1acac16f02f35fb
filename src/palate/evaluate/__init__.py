"""Protocols, measures with intervals, and the report: how well methods do on people they have never seen."""
