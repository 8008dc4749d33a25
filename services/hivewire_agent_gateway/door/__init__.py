"""The door: HTTP, server-sent events and WebSockets, translated to the hive's bus under the caller's proven name.

A door holds nothing but connections, so any number of them run beside one core.
"""
