"""Floor 0: pure decisions, records and encodings; no I/O, no clock, no randomness."""
