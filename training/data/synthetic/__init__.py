"""An invented data set, which is the same for the same settings."""
