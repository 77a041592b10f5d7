"""The service with a lot in its database."""
