"""A fleet of agents that analyses a source tree, loses one of its members on the way, and proves its own report.

`make demo` runs it; `make demo DEMO_DIR=path` analyses another tree.
"""
