"""The paper's tables beside ours, as Markdown, from what `gtx-bayes reproduce` wrote.

    python -m tests.benchmarks.paper FOLDER --output docs/reproducing_tables.md

FOLDER holds table1.json, table2.json, assessment.json and optimality.json, and FOLDER/more a
table2.json of more runs than the paper's. `make paper` makes them all and calls this.
"""

import argparse
import itertools
import json
from pathlib import Path

from gtx_bayes.experiments.study import Study

COHORTS = {"accurate": "U(.8, 1)", "less_accurate": "U(.6, .9)"}


def percent(cell, digits=2):
    spread = f" ± {100 * cell['se']:.{digits}f}" if cell["se"] else ""
    return f"{100 * cell['mean']:.{digits}f}{spread}"


def z(cell):
    return "equal" if cell["z"] == 0 and not cell["se"] else f"{cell['z']:+.1f}"


def beside(cell):
    """Ours, the paper's, z."""
    printed = f"{100 * cell['paper']:.2f} ± {100 * cell['paper_se']:.2f}"
    return f"{percent(cell)} · {printed} · {z(cell)}"


def where(record, **setting):
    return Study("", 0, record["rows"]).where(**setting)


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def table1(record):
    """Every printed cell with its z-score; the misprint with both."""
    rows = []
    for row in where(record, paper_setting=True):
        n, k = row["num_examples"], row["labels_per_example"]
        setting = "5 labels" if row["threshold"] is None else f"τ = {row['threshold']:g}"
        z_n = z(n)
        if n.get("paper_misprint"):
            z_n = f"{z(n)}; **misprint**, {n['paper_implied']:.0f} implied: {n['z_implied']:+.1f}"
        rows.append(
            [
                f"{COHORTS[row['cohort']]}, `{row['method']}`, {setting}",
                beside(row["error"]),
                beside(row["mae"]),
                f"{n['mean']:.0f} ± {n['se']:.0f} · {n['paper']:.0f} ± {n['paper_se']:.0f} · {z_n}",
                f"{k['mean']:.2f} · {k['paper']:.2f} · {z(k)}",
            ]
        )
    header = ["cohort, method, setting", "error %", "MAE %", "N", "labels per example"]
    return table(header, rows)


def thresholds(record):
    """Mean error in percent over the whole curve in the threshold."""
    lines = []
    for cohort, method in itertools.product(COHORTS, ("gtx", "soft-vote")):
        rows = where(record, cohort=cohort, method=method)
        errors = [f"{100 * row['error']['mean']:.2f}" for row in rows]
        bold = [f"**{e}**" if row["best"] else e for e, row in zip(errors, rows, strict=True)]
        lines.append([f"{COHORTS[cohort]}, `{method}`", *bold])
    return table(["τ", *(f"{row['threshold']:.2f}"[1:] for row in rows)], lines)


def table2(record):
    rows = [
        [f"{COHORTS[row['cohort']]}, `{row['method']}`", beside(row["error"]), beside(row["mae"])]
        for row in record["rows"]
    ]
    return table(["cohort, method", "error %", "MAE %"], rows)


def assessment(record, strategy):
    """Error in percent by method and number of gold answers."""
    sizes = sorted({row["gold_per_labeler"] for row in record["rows"]} - {None})
    lines = []
    for cohort in COHORTS:
        (known,) = where(record, cohort=cohort, strategy=strategy, method="known-accuracy")
        last = percent(known["error"])
        for method in ("gtx", "beta", "empirical-bayes", "gtx-bayes"):
            rows = where(record, cohort=cohort, strategy=strategy, method=method)
            cells = {row["gold_per_labeler"]: row["error"] for row in rows}
            shown = ["-" if cells[m]["mean"] is None else percent(cells[m]) for m in sizes]
            lines.append([f"{COHORTS[cohort]}, `{method}`", *shown, last])
            last = ""  # once for a cohort
    return table(["m", *map(str, sizes), "known"], lines)


def optimality(record):
    rows = [
        [
            f"{COHORTS[row['cohort']]}, {row['strategy']}, `{row['method']}`",
            f"{row['labels_per_example']['mean']:.2f}",
            percent(row["bound"], 3),
            percent(row["error"], 3),
            f"{row['ratio']['mean']:.3f} ± {row['ratio']['se']:.3f}",
        ]
        for row in record["rows"]
    ]
    header = ["cohort, strategy, method", "labels", "least error %", "error %", "ratio"]
    return table(header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    names = ("table1", "table2", "assessment", "optimality")
    found = {n: json.loads((options.folder / f"{n}.json").read_text()) for n in names}
    more = json.loads((options.folder / "more" / "table2.json").read_text())
    parts = {
        f"Table 1, {found['table1']['runs']} runs: ours · the paper's · z": table1(found["table1"]),
        "Error % of Table 1 by threshold, the best in bold": thresholds(found["table1"]),
        f"Table 2, {found['table2']['runs']} runs: ours · the paper's · z": table2(found["table2"]),
        f"Table 2, {more['runs']} runs: ours · the paper's 10 · z": table2(more),
        f"Confidence threshold .99, error % by gold answers, {found['assessment']['runs']} runs": (
            assessment(found["assessment"], "confidence-threshold")
        ),
        "Uncertainty sampling, error % by gold answers": assessment(
            found["assessment"], "uncertainty"
        ),
        f"Distance from the least possible error, {found['optimality']['runs']} cohorts": (
            optimality(found["optimality"])
        ),
    }
    text = "\n\n".join(f"### {title}\n\n{body}" for title, body in parts.items())
    options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
