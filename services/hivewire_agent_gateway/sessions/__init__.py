"""Sessions: every dispatch to a remote agent, from its acceptance to its end. Pure."""
