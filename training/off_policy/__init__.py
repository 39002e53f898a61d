"""What a policy that was never served would have earned, by what was logged of others."""
