"""What holds of every page, and names that try to break out of one."""

import html.parser
import re
import warnings

VOID = {"br", "img", "meta"}

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$\\frac{",
    "\u202eliveu",
    "\u200b\u2060",
    "{{ 7 * 7 }}{% raw %}",
    "Q1Qxx",
    "'\"&amp;&lt;`",
    "a\nb\tc",
    "]]></style></svg><svg onload=alert(1)>",
    "שלום",
    "名前" * 40,
]
"""Names that mean something to HTML, SVG, Jinja, Matplotlib, or the eye."""


class Page(html.parser.HTMLParser):
    """A page as a browser takes it apart, with what makes it invalid or dependent on others."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attrs, self.text = [], [], [], []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += [(tag, *attr) for attr in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, name):
        return [value for _, attr, value in self.attrs if attr == name]


def check_page(text, files=("examples.csv", "labelers.csv", "panel.csv", "confusion.csv")):
    """What holds of every page, whatever the crowd."""
    page = Page(text)
    assert page.open == []
    forbidden = {"script", "img", "iframe", "object", "embed", "link", "base", "form", "image"}
    assert not forbidden & set(page.tags)
    assert not [attr for _, attr, _ in page.attrs if attr.startswith("on") or attr == "src"]
    assert "://" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert set(page.values("aria-labelledby")) <= set(ids)
    hrefs = set(page.values("href"))
    assert {href[1:] for href in hrefs if href.startswith("#")} <= set(ids)
    assert {href for href in hrefs if href[0] != "#"} <= set(files)
    assert ("html", "lang", "en") in page.attrs
    assert page.tags.count("h1") == page.tags.count("title") == 1
    assert page.tags.count("svg") == sum(role == "img" for role in page.values("role"))
    assert "nan" not in re.findall(r"[a-z]+", "".join(page.text))
    return page
