"""tms-principals: sshd's AuthorizedPrincipalsCommand."""
