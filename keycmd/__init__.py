"""What the host's helpers share: their configuration and their one question to the service.

Runs under sshd, as an unprivileged user, with Python 3.6 and its standard library. Imports are few because every
login waits for them.
"""
