"""Measure how good what was trained is: python scripts/evaluate.py style --help."""

import argparse
import sys

import evaluate_inpainting
import evaluate_iterations
import evaluate_knobs
import evaluate_style
import evaluate_video

EVALUATIONS = {
    "style": evaluate_style,
    "inpainting": evaluate_inpainting,
    "iterations": evaluate_iterations,
    "video": evaluate_video,
    "knobs": evaluate_knobs,
}
MISUSED = 2  # exit code, as of infer.py


def main() -> None:
    """Run one of the evaluations; what is wrong with its arguments is told in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    subparsers = parser.add_subparsers(required=True)
    for name, evaluation in EVALUATIONS.items():
        summary = (evaluation.__doc__ or "").splitlines()[0]
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        evaluation.add_arguments(subparser)
        subparser.set_defaults(run=evaluation.run)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except (ValueError, OSError) as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        sys.exit(MISUSED)


if __name__ == "__main__":
    main()
