"""CVAT: XML "for images", the tags of whole images."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from gtx_bayes.importers.base import AbstractImporter, Answer, Gold, LeftOut, Record, Statement


@dataclasses.dataclass(frozen=True)
class Cvat(AbstractImporter):
    """One file a job: the worker is its assignee, or else goes by the name of the file.

    A tag is an answer, its attributes are questions of their own. Boxes and other shapes are left
    out. A ground truth job is gold.
    """

    name = "cvat"
    description = "CVAT: XML for images, the tags of each job's assignee"

    def recognises(self, first: Record) -> bool:
        """The root of the XML."""
        root = first.get("annotations")
        return isinstance(root, Element) and root.find("meta") is not None

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer an image with tags, a blank one for an image with none."""
        for record in records:
            root = record["annotations"]
            is_gold = (root.findtext("./meta/job/type") or "").strip() == "ground_truth"
            worker = next(
                (
                    name.strip()
                    for place in ("job", "task")
                    if (name := root.findtext(f"./meta/{place}/assignee/username"))
                ),
                file.stem,
            )
            for image in root.iter("image"):
                tags = image.findall("tag")
                answers = [("", [tag.get("label") for tag in tags])]
                answers += [
                    (f"{tag.get('label')}.{attribute.get('name')}", attribute.text)
                    for tag in tags
                    for attribute in tag.findall("attribute")
                ]
                for question, label in answers:
                    if is_gold:
                        yield Gold(image.get("name"), label, question)
                    else:
                        yield Answer(image.get("name"), worker, label, question)
                for shape in image:
                    if shape.tag != "tag":
                        yield LeftOut("shape(s), which are about parts of an image")
