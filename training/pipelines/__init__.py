"""From data to a published version: one module a model, and what the runs share."""
