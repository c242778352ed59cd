"""Sets of images: what is read from folders, Parquet and the hub, and what is refused."""

import io
import json
from pathlib import Path

import jaxtyping
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gtx_bayes.errors import InputError
from gtx_bayes.finetune.decoding import LEAST_SIDE, decode
from gtx_bayes.finetune.images import (
    PAPER_SET,
    check_classes,
    read_folder,
    read_paper_set,
    read_parquet,
)
from gtx_bayes.labels import MISSING
from tests.hub import serving

COLOURS = {"a.png": (250, 10, 10), "b.png": (10, 250, 10), "below/c.png": (10, 10, 250)}
SIZE = 20


def encoded(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def plain(colour=(250, 10, 10), sides=(24, 20)):
    return Image.new("RGB", sides, colour)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    for name, colour in COLOURS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        plain(colour).save(folder / name)
    return folder


def table(folder, *rows):
    path = folder.parent / "table.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


class TestDecoding:
    def decoded(self, image, form="PNG", size=LEAST_SIDE, **options):
        pixels, kept, broken = decode([encoded(image, form, **options)], size)
        assert list(kept) == [0]
        assert broken == {}
        return pixels[0]

    def test_middle_of_the_longer_side(self):
        """Thirds of 20 pixels: the outer ones are cut off but for the edge that is blended."""
        image = Image.fromarray(
            np.repeat(
                np.array([[[255, 0, 0]] * 20 + [[0, 255, 0]] * 20 + [[0, 0, 255]] * 20]), 20, 0
            ).astype(np.uint8)
        )
        for turned in (image, image.rotate(90, expand=True)):
            square = self.decoded(turned, size=20)
            np.testing.assert_array_equal(square, np.full((20, 20, 3), [0, 255, 0]))

    def test_same_size_is_untouched(self):
        values = np.arange(20 * 20 * 3, dtype=np.uint8).reshape(20, 20, 3)
        np.testing.assert_array_equal(self.decoded(Image.fromarray(values), size=20), values)

    def test_turned_as_the_camera_says(self):
        values = np.zeros((20, 20, 3), np.uint8)
        values[:10, :10] = 200  # upper left
        exif = Image.Exif()
        exif[0x0112] = 6  # the upper left of what is stored is shown on the upper right
        square = self.decoded(Image.fromarray(values), exif=exif, size=20)
        np.testing.assert_array_equal(square, values[:, ::-1])

    @pytest.mark.parametrize(
        ("image", "colour"),
        [
            (Image.new("L", (20, 20), 77), (77, 77, 77)),
            (Image.new("1", (20, 20), 1), (255, 255, 255)),
            (Image.new("RGBA", (20, 20), (0, 0, 0, 0)), (255, 255, 255)),
            (Image.new("RGBA", (20, 20), (9, 8, 7, 255)), (9, 8, 7)),
            (Image.new("LA", (20, 20), (60, 255)), (60, 60, 60)),
            (Image.new("RGB", (20, 20), (250, 10, 20)).quantize(4), (250, 10, 20)),
            (Image.fromarray(np.full((20, 20), 0x7FFF, np.uint16)), (0x7F,) * 3),
        ],
        ids=["grey", "bits", "transparent", "opaque", "grey and alpha", "palette", "16 bits"],
    )
    def test_every_mode_becomes_rgb(self, image, colour):
        square = self.decoded(image, size=20)
        np.testing.assert_array_equal(square, np.broadcast_to(colour, (20, 20, 3)))

    def test_cmyk(self):
        square = self.decoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG")
        assert (np.abs(square.astype(int) - [255, 0, 0]) < 4).all()

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"", "no image in a known format"),
            (b"%!PS-Adobe-3.0 EPSF-3.0", "no image in a known format"),
            (encoded(plain())[:-40], "truncated"),
            (encoded(plain(), "JPEG")[:-10], "truncated"),
            (encoded(plain(sides=(100, LEAST_SIDE - 1))), "100 x 15 pixels"),
            (encoded(Image.new("F", (20, 20)), "TIFF"), "32 bits"),
        ],
        ids=["empty", "program", "png", "jpeg", "tiny", "floats"],
    )
    def test_broken(self, content, what):
        good = encoded(plain())
        pixels, kept, broken = decode([good, content, good], SIZE)
        assert list(kept) == [0, 2]
        assert list(broken) == [1]
        assert what in broken[1]
        np.testing.assert_array_equal(pixels[0], pixels[1])
        assert pixels.shape == (2, SIZE, SIZE, 3)

    def test_bombs_are_broken_images(self, monkeypatch):
        """At Pillow's limit and at twice the limit, where it stops warning and raises."""
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 24 - 1)
        images = [encoded(plain(sides=sides)) for sides in ((20, 20), (24, 20), (100, 100))]
        _, kept, broken = decode(images, SIZE)
        assert list(kept) == [0]
        assert broken == {1: "more than 479 pixels", 2: "more than 479 pixels"}


class TestFolder:
    def test_without_a_table(self, folder):
        (folder / "notes.txt").write_text("not an image")
        (folder / ".hidden.png").write_bytes(b"")
        images = read_folder(folder, size=SIZE)
        assert list(images.names) == list(COLOURS)
        assert images.pixels.shape == (3, SIZE, SIZE, 3)
        assert images.pixels.dtype == np.uint8
        np.testing.assert_array_equal(images.pixels[:, 0, 0], list(COLOURS.values()))
        np.testing.assert_array_equal(images.true_label, [MISSING] * 3)
        assert images.num_classes == 0
        assert len(set(images.group)) == 3
        assert images.split is None
        assert images.notes == (f"{folder}: 1 file(s) that are no images are left.",)

    def test_with_a_table(self, folder):
        path = table(
            folder,
            "file,label,group,split",
            "below/c.png,no,video,train",
            "b.png,,other,test",
            "a.png,yes,video,train",
        )
        images = read_folder(folder, path, size=SIZE)
        assert list(images.names) == ["below/c.png", "b.png", "a.png"]
        np.testing.assert_array_equal(images.pixels[:, 0, 0], list(COLOURS.values())[::-1])
        np.testing.assert_array_equal(images.true_label, [0, MISSING, 1])
        assert list(images.class_names) == ["no", "yes"]
        np.testing.assert_array_equal(images.group, [0, 1, 0])
        assert list(images.split) == ["train", "test", "train"]
        assert images.notes == ()
        some = images.take(np.array([2, 0]))
        assert list(some.names) == ["a.png", "below/c.png"]
        np.testing.assert_array_equal(some.pixels, images.pixels[[2, 0]])
        np.testing.assert_array_equal(some.true_label, [1, 0])
        np.testing.assert_array_equal(some.group, [0, 0])
        assert list(some.split) == ["train", "train"]
        assert list(some.class_names) == ["no", "yes"]

    def test_tasks_without_endings(self, folder):
        """Tasks of a labels table are seldom called after a format."""
        (folder / "12.png").write_bytes((folder / "a.png").read_bytes())
        path = table(folder, "task,gold", "12,1", "below/c,0")
        images = read_folder(folder, path, size=SIZE)
        assert list(images.names) == ["12", "below/c"]
        assert list(images.class_names) == ["0", "1"]
        assert images.notes == (f"{folder}: 2 image(s) not in the table are left out.",)

    def test_classes_in_the_order_given(self, folder):
        path = table(folder, "file,label", "a.png,yes", "b.png,no")
        images = read_folder(folder, path, size=SIZE, classes=["yes", "no", "perhaps"])
        np.testing.assert_array_equal(images.true_label, [0, 1])
        assert images.num_classes == 3
        with pytest.raises(InputError, match=r"row 3: label 'no' is none of the classes"):
            read_folder(folder, path, size=SIZE, classes=["yes", "maybe"])
        with pytest.raises(InputError, match="repeat one"):
            read_folder(folder, path, size=SIZE, classes=["yes", "yes"])

    def test_columns_by_option(self, folder):
        path = table(folder, "picture,label,kind", "a.png,x,p", "b.png,x,q")
        named = {"image": "picture", "label": "kind"}
        assert list(read_folder(folder, path, size=SIZE, columns=named).class_names) == ["p", "q"]

    @pytest.mark.parametrize(
        ("rows", "what"),
        [
            (["file", "a.png", "d.png", "e.png"], "row 3: 2 of 3 images are not in"),
            (["file", "a.png", "a.png"], "row 3: 'a.png' is the image 'a.png' of row 2 too"),
            (["file", "a.png", "a"], "row 3: 'a' is the image 'a.png' of row 2 too"),
            (["file", "../table.csv"], "1 of 1 images are not in"),
            (["picture", "a.png"], "no column holds the image"),
            (["file,image", "a.png,a"], "could each hold the image"),
            (["file,group", "a.png,"], "row 2: column 'group' has no value"),
            (["file,split", "a.png,"], "row 2: column 'split' has no value"),
            (["file,label", ",yes"], "row 2: column 'file' has no value"),
            (["file"], "no rows"),
        ],
    )
    def test_refused_tables(self, folder, rows, what):
        with pytest.raises(InputError, match=what) as error:
            read_folder(folder, table(folder, *rows), size=SIZE)
        assert error.value.hint

    def test_two_formats_of_one_name(self, folder):
        plain().save(folder / "a.jpg")
        with pytest.raises(InputError, match=r"'a' could be any of 'a\.jpg', 'a\.png'"):
            read_folder(folder, table(folder, "file", "a"), size=SIZE)

    def test_refused_folders(self, tmp_path):
        (tmp_path / "table.csv").write_text("file\n")
        for path, what in [
            (tmp_path / "absent", "there is no such folder"),
            (tmp_path / "table.csv", "is no folder"),
            (tmp_path, "there is no image in the folder"),
        ]:
            with pytest.raises(InputError, match=what):
                read_folder(path)
        with pytest.raises((InputError, jaxtyping.TypeCheckError)):  # the latter in tests alone
            read_folder(tmp_path, broken="ignore")

    def test_more_than_memory_is_to_hold(self, folder, monkeypatch, tmp_path):
        """In a file without a name, the same pixels, broken images left out."""
        (folder / "b.png").write_bytes(b"\x89PNG")
        held = read_folder(folder, size=SIZE, broken="skip")
        monkeypatch.setattr("gtx_bayes.finetune.images.MOST_IN_MEMORY", 0)
        monkeypatch.setattr("gtx_bayes.finetune.images._BATCH", 2)
        (tmp_path / "room").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "room"))
        mapped = read_folder(folder, size=SIZE, broken="skip")
        assert isinstance(mapped.pixels, np.memmap)
        np.testing.assert_array_equal(mapped.pixels, held.pixels)
        assert list(mapped.names) == list(held.names) == ["a.png", "below/c.png"]
        assert list((tmp_path / "room").iterdir()) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
    def test_no_room(self, folder, monkeypatch):
        monkeypatch.setattr("gtx_bayes.finetune.images.MOST_IN_MEMORY", 0)
        full = Path("/dev/full")
        monkeypatch.setattr("tempfile.TemporaryFile", lambda buffering: full.open("wb", buffering))
        with pytest.raises(InputError, match=r"no room for them.*No space left") as error:
            read_folder(folder, size=SIZE)
        assert "TMPDIR" in error.value.hint

    def test_broken_images(self, folder):
        path = table(folder, "file,label,group", "a.png,x,1", "b.png,y,2", "below/c.png,y,1")
        (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:-30])
        with pytest.raises(InputError, match=r"1 of 3 images cannot be used: .*a\.png.*skipped"):
            read_folder(folder, path, size=SIZE)
        images = read_folder(folder, path, size=SIZE, broken="skip")
        assert list(images.names) == ["b.png", "below/c.png"]
        np.testing.assert_array_equal(images.pixels[:, 0, 0], list(COLOURS.values())[1:])
        np.testing.assert_array_equal(images.true_label, [1, 1])
        np.testing.assert_array_equal(images.group, [1, 0])
        assert "1 of 3 images cannot be used" in images.notes[0]
        for name in COLOURS:
            (folder / name).write_bytes(b"spoilt")
        with pytest.raises(InputError, match=r"3 of 3 images .* Mend or remove them\.$"):
            read_folder(folder, path, size=SIZE, broken="skip")

    def test_of_one_class_there_is_nothing_to_learn(self, folder):
        check_classes(read_folder(folder, table(folder, "file,label", "a.png,x", "b.png,y")))
        with pytest.raises(InputError, match="every label is 'x'"):
            check_classes(read_folder(folder, table(folder, "file,label", "a.png,x", "b.png,")))
        with pytest.raises(InputError, match="no image has a label"):
            check_classes(read_folder(folder))

    def test_real_photographs(self, data_folder, tmp_path):
        """A table beside the folder; its rows say what the sheet of the set says."""
        tiles = data_folder / "images" / "magnetic_tile"
        rows = (tiles / "labels.csv").read_text().splitlines()
        few = tmp_path / "labels.csv"
        few.write_text("\n".join([rows[0], *rows[1::220]]))
        images = read_folder(tiles / "img", few, size=64)
        assert images.pixels.shape == (7, 64, 64, 3)
        assert list(images.names) == [row.split(",")[0] for row in rows[1::220]]
        assert [str(images.class_names[at]) for at in images.true_label] == [
            row.split(",")[1] for row in rows[1::220]
        ]
        assert set(images.split) == {"train", "test"}
        assert images.pixels.std(axis=(1, 2, 3)).min() > 1
        assert images.notes == (f"{tiles / 'img'}: 1337 image(s) not in the table are left out.",)


def features(names):
    label = {"_type": "ClassLabel", "names": names} if names else {"_type": "Value"}
    entry = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    return {b"huggingface": json.dumps(entry).encode()}


def parquet(path, contents, paths, label, names=("NO", "YES"), **columns):
    """A file as the library `datasets` writes it."""
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [
        {"bytes": content, "path": name} for content, name in zip(contents, paths, strict=True)
    ]
    held = {"image": pa.array(cells, struct), "label": pa.array(label), **columns}
    written = pa.table(held).replace_schema_metadata(features(names))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(written, path)
    return path


CONTENTS = [encoded(plain(colour)) for colour in COLOURS.values()]


class TestParquet:
    def test_classes_by_name(self, tmp_path):
        path = parquet(tmp_path / "a.parquet", CONTENTS, ["x", "y", "z"], [1, -1, 0])
        images = read_parquet(path, size=SIZE)
        assert list(images.names) == ["x", "y", "z"]
        assert list(images.class_names) == ["NO", "YES"]
        np.testing.assert_array_equal(images.true_label, [1, MISSING, 0])
        np.testing.assert_array_equal(images.pixels[:, 0, 0], list(COLOURS.values()))
        assert images.notes == ()

    def test_several_files(self, tmp_path, monkeypatch):
        """In batches smaller than a file, and without paths."""
        monkeypatch.setattr("gtx_bayes.finetune.images._BATCH", 2)
        paths = [
            parquet(tmp_path / f"{at}.parquet", CONTENTS, [None] * 3, [1, None, 0]) for at in "ab"
        ]
        images = read_parquet(paths, size=SIZE)
        assert list(images.names) == ["0", "1", "2", "3", "4", "5"]
        np.testing.assert_array_equal(images.true_label, [1, MISSING, 0] * 2)
        np.testing.assert_array_equal(images.pixels[:, 0, 0], list(COLOURS.values()) * 2)
        assert "named by their rows" in images.notes[0]

    def test_labels_in_words_and_groups(self, tmp_path):
        path = parquet(
            tmp_path / "a.parquet",
            CONTENTS,
            ["x", "y", "z"],
            ["cat", "ant", None],
            names=None,
            group=pa.array([5, 7, 5]),
            split=pa.array(["train", "train", "test"]),
        )
        images = read_parquet(path, size=SIZE)
        assert list(images.class_names) == ["ant", "cat"]
        np.testing.assert_array_equal(images.true_label, [1, 0, MISSING])
        np.testing.assert_array_equal(images.group, [0, 1, 0])
        assert list(images.split) == ["train", "train", "test"]

    def test_bytes_alone(self, tmp_path):
        path = tmp_path / "plain.parquet"
        pq.write_table(pa.table({"img": pa.array(CONTENTS)}), path)
        images = read_parquet(path, size=SIZE)
        assert images.num_classes == 0
        assert list(images.names) == ["0", "1", "2"]

    def test_broken_images(self, tmp_path):
        contents = [CONTENTS[0], b"spoilt", CONTENTS[2]]
        path = parquet(tmp_path / "a.parquet", contents, ["x", "y", "z"], [1, 0, 0])
        with pytest.raises(InputError, match=r"1 of 3 images .*row 2 of a\.parquet"):
            read_parquet(path, size=SIZE)
        images = read_parquet(path, size=SIZE, broken="skip")
        assert list(images.names) == ["x", "z"]
        np.testing.assert_array_equal(images.true_label, [1, 0])

    def test_refused(self, tmp_path):
        good = parquet(tmp_path / "good.parquet", CONTENTS, ["x", "y", "z"], [1, 0, 0])
        cut = tmp_path / "cut.parquet"
        cut.write_bytes(good.read_bytes()[:-20])
        named = tmp_path / "named.parquet"
        named.write_bytes(good.read_bytes().replace(b"label", b"\x86abel"))
        elsewhere = parquet(tmp_path / "out.parquet", [None], ["x.png"], [0])
        beyond = parquet(tmp_path / "beyond.parquet", CONTENTS[:1], ["x"], [2])
        other = parquet(tmp_path / "other.parquet", CONTENTS[:1], ["w"], [0], names=("a", "b"))
        empty = parquet(tmp_path / "empty.parquet", [], [], [])
        words = tmp_path / "words.parquet"
        pq.write_table(pa.table({"image": ["a.png"]}), words)
        for paths, what in [
            (cut, "no readable Parquet"),
            (tmp_path / "absent.parquet", "no readable Parquet"),
            (named, "no readable Parquet"),
            (elsewhere, "row 1: column 'image' has no bytes"),
            (beyond, "row 1: label 2 is none of the 2 classes"),
            ([good, other], "other columns or classes"),
            (empty, "there is no image"),
            (words, "holds no images but string"),
        ]:
            with pytest.raises(InputError, match=what) as error:
                read_parquet(paths, size=SIZE)
            assert error.value.hint


class TestPaperSet:
    def test_fetched_once(self, tmp_path):
        held = {"README.md": b"not wanted"}
        for name, label in (("0000", [1, 0, 0]), ("0001", [0, 1, 1])):
            paths = [f"{name}-{at}.jpg" for at in range(3)]
            path = parquet(tmp_path / "held" / f"{name}.parquet", CONTENTS, paths, label)
            held[f"default/train/{path.name}"] = path.read_bytes()
        with serving(**held) as hub:
            for _ in range(2):
                images = read_paper_set(size=SIZE, cache=tmp_path / "cache", endpoint=hub.url)
        assert images.num_images == 6
        assert images.names[3] == "0001-0.jpg"
        assert list(images.class_names) == ["NO", "YES"]
        np.testing.assert_array_equal(images.true_label, [1, 0, 0, 0, 1, 1])
        fetched = [path for _, path in hub.asked if "/resolve/" in path]
        assert sum("0001.parquet" in path for path in fetched) == 2  # what it is, and it
        assert not any("README" in path for path in fetched)

    def test_nothing_there(self, tmp_path):
        match = r"no Parquet file of it.*read_parquet"
        with serving(**{"README.md": b"."}) as hub, pytest.raises(InputError, match=match):
            read_paper_set(cache=tmp_path / "cache", endpoint=hub.url)

    def test_no_network(self, tmp_path):
        with pytest.raises(InputError, match=r"could not be downloaded.*refused") as error:
            read_paper_set(cache=tmp_path, endpoint="http://127.0.0.1:9")
        assert f"https://huggingface.co/datasets/{PAPER_SET}/tree/" in error.value.hint
        assert "`read_parquet([FILE, ...])`" in error.value.hint
