"""A process of its own that writes to a SQLite file: one line in, one thing done, one line out."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Self


class Committer:
    """Another process with a connection of its own."""

    def __init__(self, path: Path, patience: float = 60.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(path), str(patience)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def do(self, statement: str) -> str:
        """Run a statement there, and return what it answered once it was committed."""
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """kill -9: whatever it was doing is for others to clear up."""
        self.process.kill()
        self.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def main() -> None:
    connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=float(sys.argv[2]))
    for line in sys.stdin:
        try:
            print(connection.execute(line).fetchall(), flush=True)
        except sqlite3.Error as error:
            print(error, flush=True)
    connection.close()


if __name__ == "__main__":
    main()
