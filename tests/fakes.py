"""What tests put in the place of the outside world: a clock that they move."""


class FakeClock:
    """Stands still until it is moved.

    In the past, as epochs are that were taken at it: the next change takes them to the machine's own time, as it does
    outside of tests.
    """

    def __init__(self, now: int = 1_780_000_000) -> None:
        self.ms = now * 1000

    def now(self) -> int:
        return self.ms // 1000

    def now_ms(self) -> int:
        return self.ms

    def move(self, seconds: int) -> None:
        self.ms += seconds * 1000
