"""A page of what `run.sh` measured: `python -m tests.accelerator.page FILE --output PAGE`."""

import argparse
import json
from pathlib import Path

UNITS = {
    "bytes_per_second": lambda value: f"{value / 1e9:,.0f} GB/s",
    "of_copy": lambda value: f"{value:.2f} of the copy",
    "against_product": lambda value: f"{value:.2f} times the plain product",
    "runs_per_second": lambda value: f"{value:,.0f} runs/s",
    "labels_per_second": lambda value: f"{value / 1e6:,.0f} million labels/s",
    "sweeps_per_second": lambda value: f"{value:,.0f} sweeps/s",
    "images_per_second": lambda value: f"{value:,.0f} images/s",
    "of_peak": lambda value: f"{value:.1%} of the peak",
    "passed": lambda value: "passed" if value else "FAILED",
}


def page(record):
    """The page in Markdown."""
    machine = record["machine"]
    small = " Sizes are those of a trial, which say nothing of speed." if record["small"] else ""
    lines = [
        "# Measured on an accelerator",
        "",
        f"{machine['device']}, JAX {machine['jax']}, Python {machine['python']};"
        f" {record['seconds']:.0f} s in all.{small}",
        "",
        "| what | size | seconds | |",
        "|---|---|---|---|",
    ]
    for row in record["results"]:
        said = ", ".join(UNITS[name](row[name]) for name in UNITS if name in row)
        lines.append(f"| {row['name']} | {row['size']} | {row['seconds']:.3g} | {said} |")
    if record["left_out"]:
        lines += ["", "Left out:", ""]
        lines += [f"- {each['part']}: {each['why']}." for each in record["left_out"]]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.write_text(page(json.loads(options.file.read_text())))


if __name__ == "__main__":
    main()
