"""Processes that serve: one worker, or several under a supervisor with one writer. No SQL, no decisions."""
