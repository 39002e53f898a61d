"""Networks and closed forms."""
