"""Floor 2: one small class per job. They own transactions, the clock and serials; no HTTP, no SQL text."""
