"""Evaluates what is published: figures, where they come from, and the report that shows them."""
