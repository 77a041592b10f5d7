"""What every unit test shares."""

from hypothesis import settings

# No test asserts a time: an example may have to make an RSA key, or share its core with a benchmark.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
