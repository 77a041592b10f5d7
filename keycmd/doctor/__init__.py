"""tms-host doctor: what is wrong with sshd and TMS-CA on this host, and how to mend it. It changes nothing."""
