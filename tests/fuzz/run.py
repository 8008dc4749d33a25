"""Fuzzes every target for its share of FUZZ_SECONDS (300), by coverage where atheris is installed, else by chance.

What breaks a promise is written to a file that is shown; `run.py TARGET FILE` runs it again.
"""

import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "300"))
FOUND = Path(os.environ.get("FUZZ_FOUND", ROOT / ".fuzz"))
INPUT_BYTES_MAX = 8192
MAKERS = (
    b"[" * 1500,
    b"{",
    b"}",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"9" * 4000,
    b"1e131071",
    b"NaN",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\n",
)


def by_coverage(name: str, seconds: float, corpus: Path) -> None:
    """Run one target under atheris, which ends this process."""
    import atheris

    with atheris.instrument_imports(include=["hivewire", "hivewire_agent_gateway", "fuzz"]):
        from fuzz.targets import TARGETS

    options = [f"-max_total_time={seconds:.0f}", f"-max_len={INPUT_BYTES_MAX}", "-rss_limit_mb=2048", "-timeout=10"]
    options += ["-print_final_stats=1", f"-artifact_prefix={FOUND}/{name}-", f"-seed={random.randrange(1, 2**31)}"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


def by_chance(name: str, seconds: float) -> int:
    """Run one target on changed seeds; how many."""
    from fuzz.targets import SEEDS, TARGETS

    target, ends_s, runs = TARGETS[name], time.monotonic() + seconds, 0
    while time.monotonic() < ends_s:
        body = bytearray(random.choice(SEEDS[name]))
        for _ in range(random.randrange(4)):
            at = random.randrange(len(body) + 1)
            body[at : at + random.randrange(8)] = random.choice([*MAKERS, os.urandom(random.randrange(8))])
        runs += 1
        try:
            target(bytes(body))
        except BaseException:
            (FOUND / f"{name}-by-chance").write_bytes(body)
            raise
    return runs


def fuzzed(name: str, seconds: float, *, guided: bool) -> bool:
    """Fuzz a target in a process of its own and say how it went; whether all held."""
    from fuzz.targets import SEEDS

    with tempfile.TemporaryDirectory() as folder:
        for index, seed in enumerate(SEEDS[name]):
            (Path(folder) / str(index)).write_bytes(seed)
        how = "--guided" if guided else "--by-chance"
        known = set(FOUND.iterdir())
        command = [sys.executable, __file__, how, name, str(seconds), folder]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    told = re.findall(r"number_of_executed_units: (\d+)", ran.stderr + ran.stdout)
    print(f"{name:15} {told[-1] if told else '?':>9} inputs  {'ok' if ran.returncode == 0 else 'BROKEN'}", flush=True)
    if ran.returncode:
        print(ran.stdout[-3000:], ran.stderr[-3000:])
        for file in sorted(set(FOUND.iterdir()) - known):
            print(
                f"the input is in {file}:\n{file.read_bytes()[:2000]!r}\nagain: {sys.executable} {__file__} {name} {file}"
            )
    return ran.returncode == 0


def main() -> None:
    FOUND.mkdir(exist_ok=True)
    match sys.argv[1:]:
        case ["--guided", name, seconds, corpus]:
            by_coverage(name, float(seconds), Path(corpus))
        case ["--by-chance", name, seconds, _]:
            print(f"number_of_executed_units: {by_chance(name, float(seconds))}")
        case [name, file]:
            from fuzz.targets import TARGETS

            TARGETS[name](Path(file).read_bytes())
        case _:
            from fuzz.targets import TARGETS

            guided = importlib.util.find_spec("atheris") is not None
            print("guided by coverage" if guided else "atheris is not installed: by chance, not guided by coverage")
            held = [fuzzed(name, SECONDS / len(TARGETS), guided=guided) for name in TARGETS]
            sys.exit(not all(held))


if __name__ == "__main__":
    main()
