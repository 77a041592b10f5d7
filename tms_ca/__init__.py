"""TMS-CA: an SSH certificate authority and trust manager for science gateways and HPC."""

__version__ = "0.1.0"
