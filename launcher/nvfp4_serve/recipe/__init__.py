"""Our data files -> values."""
