# Before files are replaced or removed: no byte code of the old ones stays behind.
find /usr/lib/tms-host -depth -name __pycache__ -type d -exec rm -rf {} + 2>/dev/null || :
