"""Fuzz the parsers of the protocol core.

    python -m eurosky_pipeline_tests.fuzz --seconds 600         all targets, some at a time, in so many seconds
    python -m eurosky_pipeline_tests.fuzz dag_cbor              one of them, in this process
    python -m eurosky_pipeline_tests.fuzz dag_cbor FILE …       judge these files again

What was found stands in `.fuzz/TARGET/`, beside the examples that the next run begins with.
"""

import argparse
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path

NAMES = (
    "varint", "dag_cbor", "mst_node", "commit", "car", "repo", "convert", "syntax", "at_uri", "cid_text", "formats",
    "key",
)  # fmt: skip
"""Named here too, so that whoever only starts processes loads nothing."""
_INSTRUMENTED = [
    "eurosky_pipeline.atproto",
    "eurosky_pipeline.convert",
    "eurosky_pipeline_tests.plain_cbor",
    "eurosky_pipeline_tests.fuzz.plain_syntax",
    "eurosky_pipeline_tests.fuzz.plain_repo",
]
_TIMEOUT_S = 20  # for one input; texts have a narrower limit of their own
_RSS_LIMIT_MB = 1024


@dataclass(frozen=True, slots=True)
class Result:
    """How a target's run ended. `runs`: inputs that were judged; `output`: what the fuzzer said."""

    name: str
    seed: int
    is_clean: bool
    runs: int
    output: str


def fuzz(name: str, seconds: float, folder: Path, seed: int) -> Result:
    """Fuzz one target in a process of its own, for so many seconds."""
    command = [sys.executable, "-m", __package__, name, "--seconds", f"{seconds:.0f}", "--seed", str(seed)]
    process = subprocess.run(
        [*command, "--folder", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=seconds * 3 + 120,
    )
    output = process.stdout.decode(errors="replace")
    runs = [line.split()[-1] for line in output.splitlines() if line.startswith("stat::number_of_executed_units:")]
    return Result(name, seed, process.returncode == 0, int(runs[0]) if runs else 0, output)


def fuzz_all(seconds: float, folder: Path, seed: int, names: tuple[str, ...] = NAMES) -> list[Result]:
    """Fuzz every target, on every processor, in about so many seconds altogether."""
    workers = min(cpu_count() or 1, len(names))
    each = max(2, seconds * workers / len(names))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda name: fuzz(name, each, folder, seed), names))


def _fuzz_here(name: str, seconds: float, folder: Path, seed: int, inputs: list[Path]) -> None:
    """Never returns: the fuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED, enable_loader_override=False):
        from eurosky_pipeline_tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus = folder / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(example)
    words = folder / name / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    options = [
        f"-max_total_time={seconds:.0f}",
        f"-seed={seed}",
        f"-max_len={target.max_bytes}",
        f"-timeout={_TIMEOUT_S}",
        f"-rss_limit_mb={_RSS_LIMIT_MB}",
        f"-artifact_prefix={folder / name}/",
        *([f"-dict={words}"] if target.words else []),
        "-use_value_profile=1",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    print(f"fuzzing {name} for {seconds:.0f} s; the seed is {seed}", flush=True)
    atheris.Setup([sys.argv[0], *options, *map(str, inputs or [corpus])], lambda data: target.judge(data) and None)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("target", nargs="?", choices=NAMES, help="all of them if none is named")
    parser.add_argument("inputs", nargs="*", type=Path, help="files to judge, in place of fuzzing")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31 - 1) + 1)
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"))
    options = parser.parse_args()
    if options.target:
        _fuzz_here(options.target, options.seconds, options.folder.resolve(), options.seed, options.inputs)
    results = fuzz_all(options.seconds, options.folder.resolve(), options.seed)
    for result in results:
        print(f"{result.name:10} {result.runs:>10,} inputs   {'nothing found' if result.is_clean else 'FOUND:'}")
        if not result.is_clean:
            print("\n".join(result.output.splitlines()[-60:]))
    sys.exit(any(not result.is_clean for result in results))


if __name__ == "__main__":
    main()
