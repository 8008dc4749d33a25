"""What the door does for requests that are more than one command or one read."""
