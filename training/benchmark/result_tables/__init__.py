"""The tables of results in the READMEs, made from the JSON files in training/results."""
