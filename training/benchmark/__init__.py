"""Recipes under the papers' protocols, beside baselines and published metrics."""
