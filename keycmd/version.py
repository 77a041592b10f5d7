"""The version of what a host has, as it reports it."""

VERSION = "0.1.0"
