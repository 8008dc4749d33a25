"""Where nothing is traced nothing is loaded and nothing changes."""

import subprocess
import sys

PROGRAM = """
import sys
from hivewire import correlation, tracing
tracing.set_up("test")
with tracing.span("send", "broker.submit", "given") as traceparent, correlation.correlated("id", traceparent):
    assert correlation.current() == ("id", "given")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_without_an_endpoint_nothing_is_imported():
    done = subprocess.run([sys.executable, "-c", PROGRAM], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
