"""tms-hostd: what runs on a host all the time, so that a login need not wait for TLS and trust is never old."""
