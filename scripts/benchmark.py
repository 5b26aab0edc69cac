"""Measure how fast impasto is on this machine: python scripts/benchmark.py loader --help."""

import argparse

import benchmark_filling
import benchmark_inference
import benchmark_loader
import benchmark_training

BENCHMARKS = {
    "filling": benchmark_filling,
    "inference": benchmark_inference,
    "loader": benchmark_loader,
    "training": benchmark_training,
}


def main() -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    subparsers = parser.add_subparsers(required=True)
    for name, benchmark in BENCHMARKS.items():
        subparser = subparsers.add_parser(name, help=benchmark.__doc__)
        benchmark.add_arguments(subparser)
        subparser.set_defaults(run=benchmark.run)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
