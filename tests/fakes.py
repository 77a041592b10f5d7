"""What tests put in the place of the outside world: a clock that they move."""


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, now: int = 1_800_000_000) -> None:
        self.ms = now * 1000

    def now(self) -> int:
        return self.ms // 1000

    def now_ms(self) -> int:
        return self.ms

    def move(self, seconds: int) -> None:
        self.ms += seconds * 1000
