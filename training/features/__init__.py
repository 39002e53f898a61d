"""What models read: events, ratings and content as arrays."""
