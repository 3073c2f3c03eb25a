"""Features: from audio files to one array of log-mel frames a role."""
