"""Evaluates what is published: metrics, where they come from, and the report that shows them."""
