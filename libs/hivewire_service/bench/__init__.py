"""Benchmarks of a whole hive on this machine: the real services as processes, on the real servers.

What is measured, and how, stands in each benchmark's module. Every run checks that nothing was lost or done twice: the
figures of a run that did are worth nothing.
"""
