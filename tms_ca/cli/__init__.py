"""Floor 5: the operator's command line, `tms-ca`."""
