"""How the commands' help looks."""

import argparse


class Help(argparse.RawDescriptionHelpFormatter):
    """Help with room for long names, and with examples as they are written."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=110)
