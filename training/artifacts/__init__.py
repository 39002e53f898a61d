"""Files of published versions: the repository, and what a scorer consists of."""
