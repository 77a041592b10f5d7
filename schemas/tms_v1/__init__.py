"""Bodies and queries of the TMS wire API: unknown members are ignored, as its clients expect."""
