"""tms-host, the administrator's command on a host: join, rotate, leave, status."""
