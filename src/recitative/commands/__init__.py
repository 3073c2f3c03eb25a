"""The commands that are no stages: `run()` each, called by the command line."""
