"""The broker: queues tasks, matches them to agents and follows every attempt to its end."""
