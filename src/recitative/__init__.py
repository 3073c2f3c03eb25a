"""Recitative: does speech in a language help to recognise emotion in music sung in it?"""

__version__ = "0.1.0"
