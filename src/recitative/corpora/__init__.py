"""Corpora: what lies on disk becomes clips, clips become splits, splits are audited."""
