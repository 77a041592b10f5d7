"""The zipapp's entry point."""

from principals_cmd.main import main

main()
