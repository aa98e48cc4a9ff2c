"""How much longer `import minivae` takes than `import numpy`, each in a process of its own.

    python benchmarks/import_time.py --rounds 15

Rounds alternate; the median of the differences is compared with 0.3 s.
"""

import argparse
import statistics
import subprocess
import sys
import time

LIMIT = 0.3
HEAVY = ("matplotlib", "PIL", "cupy", "sklearn", "pandas", "scipy", "tqdm", "safetensors")


def seconds(code: str) -> float:
    """The wall time of a fresh interpreter that runs ``code``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def loaded() -> list[str]:
    """What of `HEAVY` a bare `import minivae` brings along."""
    code = f"import sys, minivae; print(*({set(HEAVY)!r} & set(sys.modules)))"
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()


def main() -> int:
    """Measure and print; 0 if the limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    seconds("import minivae")  # compiles what is not yet compiled
    numpy, minivae = [], []
    for _ in range(rounds):
        numpy.append(seconds("import numpy"))
        minivae.append(seconds("import minivae"))
    extra = statistics.median(b - a for a, b in zip(numpy, minivae, strict=True))
    ours, theirs = statistics.median(minivae), statistics.median(numpy)
    print(f"import numpy   {theirs:.3f} s, median of {rounds}")
    print(f"import minivae {ours:.3f} s, ratio {ours / theirs:.2f}")
    print(f"difference     {extra:.3f} s, limit {LIMIT} s")
    print("brings along   " + (", ".join(loaded()) or "nothing heavy"))
    return 0 if extra <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
