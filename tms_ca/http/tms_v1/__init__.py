"""The wire API of the TMS server 0.3: shapes only. What is done, and whether it may be, is decided as for /api/v1."""
