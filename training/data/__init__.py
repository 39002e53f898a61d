"""Data sets: read, described, checked and split."""
