"""What a caller, or who publishes, can do to the system."""
