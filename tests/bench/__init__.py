"""`make bench`: certificates and login checks a second of the real service, beside a bare echo in the same run."""
