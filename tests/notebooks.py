"""Notebooks, run from top to bottom and kept with what they showed: `make notebooks`.

    python -m tests.notebooks [NAME ...]

Each runs in a kernel and a folder of its own. What a reader has no use for is left out: messages
on stderr, times, and how the kernel is called. `signature` of the code stands in the metadata, so
that outputs older than the code are found.
"""

import argparse
import base64
import hashlib
import io
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
MOST_BYTES = 400_000
SECONDS = 900  # that a cell may take


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def signature(notebook):
    """Of all code cells; outputs were made by code of this signature."""
    code = "\0".join(cell.source for cell in code_of(notebook))
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def kept(outputs):
    """The outputs without stderr, those of one stream together."""
    found = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if found and found[-1].output_type == "stream":
                found[-1].text += output.text
                continue
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = smaller(output.data["image/png"])
        found.append(output)
    return found


def smaller(png):
    """A plot of at most 256 colours, as base64 in and out: half as large."""
    found = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(found, "PNG", optimize=True)
    return base64.b64encode(found.getvalue()).decode() + "\n"


def execute(notebook):
    """Run a notebook, and put what it showed into it."""
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources=resources
        ).execute()
    for cell in code_of(notebook):
        cell.metadata.pop("execution", None)
        cell.outputs = kept(cell.outputs)
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["gtx_bayes"] = {"code": signature(notebook)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="all by default")
    names = parser.parse_args().names
    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        start = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        execute(notebook)
        text = nbformat.writes(notebook) + "\n"
        if len(text.encode()) > MOST_BYTES:
            raise SystemExit(f"{path.name}: {len(text.encode()):,} bytes of at most {MOST_BYTES:,}")
        path.write_text(text, encoding="utf-8")
        seconds = time.perf_counter() - start
        print(f"{path.name}: {len(text) // 1000} kB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
