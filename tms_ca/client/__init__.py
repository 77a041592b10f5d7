"""`tms`: the command line and the protocol for applications and users; the standard library is all it needs."""
