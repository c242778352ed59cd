"""The writers of results in one shape: each writes a text under `out`, and returns a file of it.

`late` is called when all is written and nothing is in place.
"""

from gtx_bayes.io.writers import (
    OutputDirectory,
    OutputFile,
    whole_file,
    whole_files,
    write_summary,
)

FILES = ("summary.json", "a.txt")


def directory(folder, text, late=lambda: None):
    with OutputDirectory(folder / "out", "test", (*FILES, "t.parquet")) as output:
        (output.path / "a.txt").write_text(text)
        (output.path / "t.parquet").mkdir()
        (output.path / "t.parquet" / "part-0.parquet").write_text(text)
        write_summary({"command": "test", "text": text}, output.path)
        late()
    return folder / "out" / "a.txt"


def several(folder, text, late=lambda: None):
    with whole_files(folder / "out", FILES, "test") as partial:
        (partial / "a.txt").write_text(text)
        write_summary({"command": "test", "text": text}, partial)
        late()
    return folder / "out" / "a.txt"


def single(folder, text, late=lambda: None):
    with OutputFile(folder / "out" / "a.txt").written() as partial:
        partial.write_text(text)
        late()
    return folder / "out" / "a.txt"


def plain(folder, text, late=lambda: None):
    with whole_file(folder / "out" / "a.txt") as partial:
        partial.write_text(text)
        late()
    return folder / "out" / "a.txt"
