"""What a corpus of many hours costs before it is trained on: memory, time and disk, step by step."""
