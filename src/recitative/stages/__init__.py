"""Stages: one module each, `run()`; the only code that knows which file lies where in build/."""
