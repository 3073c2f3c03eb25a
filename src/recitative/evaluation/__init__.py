"""Evaluation: metrics, statistics, agreement between listeners, and the verdict on each claim."""
