"""The Bayesian search: its space, the study of its trials, and the generations in which they compete.

`study` alone imports Optuna; this module imports nothing, since params.py needs `space` at every start.
"""
