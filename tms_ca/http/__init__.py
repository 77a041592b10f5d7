"""Floor 3: aiohttp. No SQL, no decisions."""
