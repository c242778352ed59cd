"""The report: its numbers by hand, its light, and a page that no name can break out of."""

import html.parser
import re
import shutil
import subprocess
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.predictive import PredictiveChecks
from gtx_bayes.diagnostics.report import diagnose, wording
from gtx_bayes.diagnostics.report.buying import plan_buying, value_of_answer
from gtx_bayes.diagnostics.report.content import examine
from gtx_bayes.diagnostics.report.incoming import count_incoming
from gtx_bayes.diagnostics.report.labelers import describe_labelers, informedness
from gtx_bayes.diagnostics.report.outcome import describe_outcome
from gtx_bayes.diagnostics.report.page import Origin, render
from gtx_bayes.diagnostics.report.trust import judge_trust
from gtx_bayes.labels import MISSING, Assessment, Labels
from tests.test_aggregation import FRAME

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
        self.tags.append(tag)
        self.attrs += [(tag, *attr) for attr in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, name):
        return [value for _, attr, value in self.attrs if attr == name]


def check_page(text, files=("examples.csv", "labelers.csv")):
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


def named(labels, truth=()):
    """A crowd of these answers, the first examples gold."""
    sizes = {"e": labels.num_examples, "w": labels.num_labelers, "c": labels.num_classes}
    names = [np.array([f"{kind}{i}" for i in range(size)], object) for kind, size in sizes.items()]
    gold = np.full(labels.num_examples, MISSING, np.int8)
    gold[: len(truth)] = truth
    return Crowd(labels, Assessment(jnp.asarray(gold), labels.num_classes), *names)


def crowd_of(dense, truth=()):
    return named(Labels.from_dense(dense, num_classes=2), truth)


def voted(votes, truth=(), num_classes=2):
    """A crowd in which each example has so many votes for each class."""
    example = np.repeat(np.arange(len(votes)), np.sum(votes, axis=1))
    label = np.concatenate([np.repeat(np.arange(num_classes), row) for row in votes])
    labeler = np.concatenate([np.arange(sum(row)) for row in votes])
    return named(Labels.from_arrays(example, labeler, label, num_classes=num_classes), truth)


def by_majority(crowd):
    return aggregate(crowd, "majority-vote")


def jointly(crowd):
    """One model, so that little is compiled."""
    return aggregate(crowd, model="one-coin", class_prior=[0.5, 0.5])


class TestWording:
    def test_unseen_is_spelt_out(self):
        assert wording.shown("a\u202eb") == "a⟨U+202E⟩b"
        assert wording.shown("\u200d") == "⟨U+200D⟩"
        assert wording.shown("\u3164") == "⟨U+3164⟩"
        assert wording.shown("می\u200cروم") == "می\u200cروم"
        assert wording.shown(7) == "7"

    def test_long_names_keep_both_ends(self):
        name = wording.shown("head" + "x" * 1000 + "tail")
        assert len(name) == 60
        assert name.startswith("head")
        assert name.endswith("tail")

    @pytest.mark.parametrize(
        ("share", "words"),
        [(0.0, "0 %"), (0.001, "under 1 %"), (0.5, "50 %"), (0.9999, "over 99 %"), (1.0, "100 %")],
    )
    def test_percent(self, share, words):
        assert wording.percent(share) == words

    def test_numbers(self):
        assert wording.counted(1, "example has", "examples have") == "1 example has"
        assert wording.counted(5000, "label") == "5,000 labels"
        assert [wording.amount(x) for x in (0.0, 0.01, 3.14, 1234.5)] == [
            "0.0",
            "under 0.1",
            "3.1",
            "1,234",
        ]

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (1, "1st"),
            (2, "2nd"),
            (3, "3rd"),
            (4, "4th"),
            (11, "11th"),
            (12, "12th"),
            (113, "113th"),
        ],
    )
    def test_ordinal(self, number, words):
        assert wording.ordinal(number) == words

    @pytest.mark.parametrize(
        ("ends", "words"),
        [
            ((0.5, 0.75), "0.50 to 0.75"),
            ((0.5281, 0.5287), "0.528 to 0.529"),
            ((0.53, 0.53), "0.5300"),
        ],
    )
    def test_interval(self, ends, words):
        """Its ends are never written alike."""
        assert wording.interval(ends) == words


class TestByHand:
    """Six answers: a gets no, no, yes; b yes; c yes, no; nobody says maybe; c is gold."""

    FRAME = pd.DataFrame(
        {
            "task": ["a", "a", "a", "b", "c", "c"],
            "worker": ["u", "v", "w", "u", "u", "v"],
            "label": ["no", "no", "yes", "yes", "yes", "no"],
        }
    )
    GOLD = pd.DataFrame({"task": ["c"], "label": ["no"]})

    @pytest.fixture
    def result(self):
        classes = ["no", "yes", "maybe"]
        return by_majority(Crowd.from_frames(self.FRAME, self.GOLD, classes=classes))

    def test_incoming(self, result):
        found = count_incoming(result.crowd)
        assert found[:5] == (6, 3, 3, 3, 1)
        assert list(found.answers_per_example) == [3, 1, 2]
        assert list(found.answers_per_labeler) == [3, 2, 1]
        few, alone, never = found.problems
        assert few.startswith("3 labelers gave fewer than 5 answers")
        assert alone.startswith("1 example has a single answer")
        assert "maybe" in never
        assert "the true class of 1 is known. In 3 respects there are few answers." in found.verdict

    def test_outcome(self, result, key):
        found = describe_outcome(result, result.examples(key))
        assert {row.name: row[1:] for row in found.classes} == {
            "no": (2, pytest.approx(2 / 3 + 1), 1),
            "yes": (1, pytest.approx(1 / 3 + 1), 0),
            "maybe": (0, 0.0, 0),
        }
        assert found.num_open == 2
        assert found.expected_wrong == pytest.approx(1 / 3)
        accepted = {row.least_confident: row[1:] for row in found.accepted}
        assert accepted[0.8] == (1, 0.5, 0.0, 0, 0)
        assert accepted[0.5] == (2, 1.0, pytest.approx(1 / 3), 0, 0)
        assert found.worth is None
        assert found.num_differing == 0

    def test_labelers(self, result, key):
        """On gold u is wrong once, v right once, and nothing is known of w: nobody is the best."""
        found = describe_labelers(key, result, result.labelers(), None)
        assert found.num_unknown == 1
        assert found.best.rows == ()
        assert (found.uninformed.number, found.opposite.number, found.pairs) == (0, 0, ())

    def test_buying(self, result, key):
        found = plan_buying(key, result)
        assert [example.name for example in found.batch] == ["a", "b"]
        assert found.batch[0].probs[0] == ("no", pytest.approx(2 / 3))
        assert found.wrong_in_batch == pytest.approx(1 / 3)
        assert np.isnan(found.gain)
        assert not found.is_worth_little

    def test_labels_against_the_vote(self, key):
        """Ten hide the truth of 40 gold examples from a vote; the one who is right decides."""
        dense = np.zeros((3, 60), int)
        dense[2] = np.arange(60) % 2
        truth = np.arange(40) % 2
        result = aggregate(crowd_of(dense, truth), "gtx")
        found = describe_outcome(result, result.examples(key))
        assert found.num_differing == 10
        row = found.differing[0]
        assert (row.label, row.voted) == ("c1", "c0")
        assert (row.votes_for_label, row.votes_for_voted, row.num_answers) == (1, 2, 3)


class TestLabelers:
    def test_informedness(self):
        """One coin at accuracy a: |K a - 1| / (K - 1); the same answer to all: nothing."""
        coin = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
        constant = np.tile([0.6, 0.3, 0.1], (3, 1))
        opposite = (1 - np.eye(3)) / 2
        found = informedness(jnp.asarray(np.stack([np.eye(3), coin, constant, opposite])))
        np.testing.assert_allclose(found, [1.0, 0.7, 0.0, 0.5], atol=1e-6)

    def test_youden(self):
        """Two classes: sensitivity plus specificity minus one, either way round."""
        found = informedness(jnp.array([[[0.9, 0.1], [0.4, 0.6]], [[0.1, 0.9], [0.6, 0.4]]]))
        np.testing.assert_allclose(found, [0.5, 0.5], rtol=1e-5)

    def test_groups_of_a_crowd(self, key):
        """Of gold alone: one who flips coins, one who says the opposite, one who knows."""
        truth = np.arange(400) % 2
        guesses = np.arange(400) // 2 % 2
        result = by_majority(crowd_of(np.stack([guesses, 1 - truth, truth]), truth))
        found = describe_labelers(key, result, result.labelers(), None)
        groups = (found.uninformed, found.opposite, found.best)
        assert [[row.name for row in group.rows] for group in groups] == [["w0"], ["w1"], ["w2"]]
        assert found.uninformed.share_of_answers == pytest.approx(1 / 3)
        assert found.uninformed.rows[0].informed_low == 0.0
        assert found.verdict == (
            "Of 3 labelers, 1 tells next to nothing, with 33 % of the answers; 1 is wrong more "
            "often than by guessing."
        )


class TestLabelersAgainstGold:
    """What a fit says of a labeler, held against the labeler's own answers to gold."""

    TRUTH = np.arange(60) % 2

    def described(self, key, dense, truth, claims):
        """The labelers as a fit describes them that claims these intervals."""
        result = by_majority(crowd_of(np.asarray(dense), truth))
        table = result.labelers().assign(
            ci_low=[low for low, _ in claims],
            ci_high=[high for _, high in claims],
            accuracy=[(low + high) / 2 for low, high in claims],
        )
        return describe_labelers(key, result, table, None)

    def test_the_best_are_not_whom_gold_contradicts(self, key):
        """The first is right on 40 of 60 where .93 are claimed at the least, the second on 57."""
        wrong_of_first, wrong_of_second = np.arange(60) % 3 == 0, np.arange(60) % 20 == 0
        dense = [self.TRUTH ^ wrong_of_first, self.TRUTH ^ wrong_of_second, self.TRUTH]
        found = self.described(key, dense, self.TRUTH, [(0.93, 0.97), (0.9, 0.95), (0.5, 0.6)])
        first, third = found.contradicted.rows
        assert {first.name, third.name} == {"w0", "w2"}
        assert found.num_below == 1
        assert [row.name for row in found.best.rows] == ["w1"]
        assert (found.best.rows[0].num_right, found.best.rows[0].num_gold) == (57, 60)
        assert "2 are contradicted by gold" in found.verdict

    def test_worse_than_guessing_by_gold_alone(self, key):
        """Right on 6 of 60, whatever is claimed."""
        dense = [self.TRUTH ^ (np.arange(60) % 10 != 0), self.TRUTH]
        found = self.described(key, dense, self.TRUTH, [(0.6, 0.7), (0.9, 1.0)])
        assert [row.name for row in found.opposite.rows] == ["w0"]
        assert [row.name for row in found.best.rows] == ["w1"]

    def test_a_weak_labeler_is_no_guesser(self, key):
        """Of 1,000 right on 590, which guesses never are, or on 510, which they are."""
        truth = np.arange(1000) % 2
        weak = truth ^ (np.arange(1000) // 2 % 100 >= 59)
        guesses = truth ^ (np.arange(1000) // 2 % 100 >= 51)
        result = by_majority(crowd_of(np.stack([weak, guesses, truth]), truth))
        found = describe_labelers(key, result, result.labelers(), None)
        assert [row.name for row in found.uninformed.rows] == ["w1"]

    def test_one_class_only(self, key):
        """Answers of one class, right as often as the class occurs: apart from the guessers."""
        result = by_majority(crowd_of(np.stack([np.zeros(60, int), self.TRUTH]), self.TRUTH))
        found = describe_labelers(key, result, result.labelers(), None)
        assert [row.name for row in found.constant.rows] == ["w0"]
        assert found.uninformed.rows == ()
        assert "1 gives one class only" in found.verdict


class TestValueOfAnswer:
    def test_by_hand(self):
        """Even odds and an accuracy of .8: 30 points. At .9 no answer of the kind can turn it."""
        coin = jnp.array([[[0.8, 0.2], [0.2, 0.8]]])
        even, sure = jnp.array([0.5, 0.5]), jnp.array([0.9, 0.1])
        np.testing.assert_allclose(value_of_answer(even, coin, 1.0), [0.3], rtol=1e-5)
        np.testing.assert_allclose(value_of_answer(sure, coin, 1.0), [0.0], atol=1e-6)

    def test_half_an_answer(self):
        """Half the log odds: odds of two to one."""
        coin = jnp.array([[[0.8, 0.2], [0.2, 0.8]]])
        found = value_of_answer(jnp.array([0.5, 0.5]), coin, 0.5)
        np.testing.assert_allclose(found, [2 / 3 - 1 / 2], rtol=1e-5)

    def test_answers_past_the_cap_are_left_to_experts(self, key):
        """At rho = 1/2 the fourth answer adds 1/10 of one, the fifth less: a cap of four."""
        crowd = voted([(2, 2)] * 3 + [(3, 0)] * 20)
        result = aggregate(crowd, model="one-coin", class_prior=[0.5, 0.5], dependence=0.5)
        found = plan_buying(key, result)
        assert (found.most_useful, found.num_beyond) == (4, 3)
        even, *_, sure = found.batch
        assert (even.num_answers, sure.num_answers) == (4, 3)
        assert even.most_gain == even.gain

    def test_worthless(self):
        nothing = jnp.array([[[0.6, 0.4], [0.6, 0.4]]])
        found = value_of_answer(jnp.array([0.5, 0.5]), nothing, 1.0)
        np.testing.assert_allclose(found, [0.0], atol=1e-6)


class TestLight:
    """Votes of two to one promise two thirds: which gold they meet decides."""

    def trust(self, key, truth):
        return judge_trust(key, by_majority(voted([(2, 1)] * 150, truth)), None)

    def test_kept(self, key):
        trust = self.trust(key, [0, 0, 1] * 50)
        assert trust.light == "green"
        assert "it found 67 %, where 67 % were promised" in trust.reasons[0].words
        assert trust.contradicted == ()

    def test_too_much(self, key):
        trust = self.trust(key, ([0] * 8 + [1] * 7) * 10)
        assert trust.light == "red"
        assert trust.verdict == "Confidence is not honest: it promises too much."
        assert trust.calibration.verdict.startswith("Confidence is not honest.")
        assert "promises too much" in trust.reasons[0].words

    def test_too_little(self, key):
        trust = self.trust(key, [0] * 150)
        assert trust.light == "amber"
        assert "promises too little" in trust.reasons[0].words

    def test_few_can_show_little(self, key):
        """Two standard errors of 32 labels, two thirds right: 17 points."""
        trust = self.trust(key, [0, 0, 1] * 10 + [0, 1])
        assert trust.light == "amber"
        assert "only a gap of 17 points or more" in trust.reasons[0].words
        assert [wanted.num_gold for wanted in trust.wanted_gold] == [89, 356]
        actions = examine(key, by_majority(voted([(2, 1)] * 150, [0, 0, 1] * 10 + [0, 1]))).actions
        assert "an expert label about 57 more examples" in actions[0].words

    @pytest.mark.parametrize("truth", [(), [0], [0, 0, 1] * 9])
    def test_never_green_without_gold(self, key, truth):
        trust = self.trust(key, truth)
        assert trust.light == "amber"
        assert trust.calibration is None
        assert "30 are the least" in trust.reasons[0].words

    def test_gold_against_everybody(self, key):
        """All three say c0 of every example; the gold of the first twenty is c1."""
        result = by_majority(voted([(3, 0)] * 150, [1] * 20 + [0] * 130))
        trust = judge_trust(key, result, None)
        assert (trust.num_contradicted, trust.num_unanimous) == (20, 20)
        assert trust.num_expected == 0.0
        assert len(trust.contradicted) == 10
        row = trust.contradicted[0]
        assert (row.gold, row.crowd, row.votes_for_gold, row.num_answers) == ("c1", "c0", 0, 3)
        assert any("rules out 20 gold labels" in reason.words for reason in trust.reasons)

    def test_nothing_is_counted_by_refuted_confidence(self, key):
        """Two thirds are promised, 53 % are right: no thresholds, and the number by gold."""
        truth = ([0] * 8 + [1] * 7) * 10
        content = examine(key, by_majority(voted([(2, 1)] * 250, truth)))
        assert content.trust.is_refuted
        assert content.outcome.accepted == ()
        first = content.actions[0].words
        assert first.startswith("Set no threshold by confidence")
        by_gold = content.outcome.by_gold
        assert (by_gold.num_hidden, by_gold.num_wrong, by_gold.num_open) == (150, 70, 100)
        assert by_gold.expected == pytest.approx(140 / 3)
        assert by_gold.low < by_gold.expected < by_gold.high
        assert f"about {by_gold.words} of 100 labels" in first
        assert "but gold refutes that" in content.outcome.wrong_words
        assert "is not counted" in content.buying.verdict

    def test_limits_of_the_number_wrong(self, key):
        """Of four hidden labels two wrong, three open: none, or all three, would be no surprise.

        Of forty hidden labels none wrong and forty open: of 80 with six wrong a random half holds
        none with probability .013, with five wrong .027.
        """
        content = judge_trust(key, by_majority(voted([(3, 0)] * 7, [0, 1, 0, 1])), None)
        assert (content.by_gold.low, content.by_gold.high) == (0, 3)
        content = judge_trust(key, by_majority(voted([(3, 0)] * 80, [0] * 40)), None)
        assert (content.by_gold.low, content.by_gold.high) == (0, 5)

    def test_quality_is_not_honesty(self, key):
        """A third of the labels are wrong, as promised: green, and the page says a third."""
        result = by_majority(voted([(2, 1)] * 250, [0, 0, 1] * 50))
        content = examine(key, result)
        assert content.trust.light == "green"
        assert content.trust.verdict.startswith("Confidence is honest, as far as 150 hidden gold")
        assert content.outcome.wrong_words == (
            "By 150 hidden gold labels 33 % of the labels are wrong, about 33.3 "
            f"({content.outcome.by_gold.low} to {content.outcome.by_gold.high}) of 100. By "
            "confidence 33 % of the labels are wrong, about 33.3 of 100."
        )

    def test_classes_that_change_places(self, key):
        """Every answer names the other class: the coding comes first, whoever is the best."""
        truth = [0, 1] * 20
        votes = [(0, 3) if at % 2 == 0 else (3, 0) for at in range(60)]
        content = examine(key, by_majority(voted(votes, truth)))
        trust = content.trust
        assert trust.light == "red"
        assert trust.coding.is_doubted
        assert trust.coding.swapped == (("c0", "c1"),)
        assert trust.worse_than_guessing
        assert content.labelers.best.rows == ()
        assert content.actions[0].words.startswith("The classes seem swapped: check the coding.")
        assert not any("Look again" in action.words for action in content.actions)

    def test_one_sided_patterns(self, key):
        """Gold c1 gets c0 in 20 of 40, c0 gets c1 in none of 40: no swap."""
        truth = [0] * 40 + [1] * 40
        votes = [(3, 0)] * 60 + [(0, 3)] * 60
        trust = judge_trust(key, by_majority(voted(votes, truth)), None)
        assert not trust.coding.is_doubted
        (pattern,) = trust.patterns
        assert pattern == ("c1", "c0", 20, 40, 0, 40)

    def test_gold_is_looked_at_only_beyond_chance(self, key):
        """Two votes of forty leave 5 % or less: with a hundred gold labels two such are chance."""
        votes = [(39, 1)] * 140
        content = examine(key, by_majority(voted(votes, [0] * 98 + [1] * 2)))
        assert content.trust.num_contradicted == 2
        assert content.trust.num_expected == pytest.approx(2.5)
        assert content.trust.contradicted == ()
        assert not any("Look again" in action.words for action in content.actions)


@pytest.fixture(scope="module")
def hostile():
    """A joint result in which every name is hostile, and what the page says of it.

    As large as fits into the least standard size of tables, which all tests here share.
    """
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 60)
    accuracy = np.r_[np.full(10, 0.8), 0.5, 0.0]
    rows = [
        (f"{HOSTILE[i % 12]} {i}", HOSTILE[j], "<b>0</b>" if y ^ wrong else "$1$")
        for i, y in enumerate(truth)
        for j in rng.permutation(12)[:4]
        for wrong in [rng.random() >= accuracy[j]]
    ]
    frame = pd.DataFrame(rows, columns=["task", "worker", "label"])
    gold = pd.DataFrame(
        {
            "task": [f"{HOSTILE[i % 12]} {i}" for i in range(32)],
            "label": np.where(truth[:32] == 1, "<b>0</b>", "$1$"),
        }
    )
    crowd = Crowd.from_frames(frame, gold)
    content = examine(jax.random.key(0), jointly(crowd))
    return content, render(content, Origin(HOSTILE[0], {"gold": HOSTILE[1]}, 0.0))


@pytest.mark.end_to_end
class TestPage:
    def test_names_are_text(self, hostile):
        content, text = hostile
        page = check_page(text)
        body = "".join(page.text)
        for name in HOSTILE:
            assert wording.shown(name, 20) in body
        assert content.trust.calibration is not None
        drawn = re.findall(r'id="figure-([a-z-]+)-figure_1"', text)
        expected = ["answers-per-labeler", "confidence", "dependence", "reliability"]
        assert drawn == [*expected, "checks", "labelers"]

    def test_sections_in_order(self, hostile):
        headings = re.findall(r'<h2 id="(\w+)">', hostile[1])
        assert headings == [
            "actions",
            "incoming",
            "outcome",
            "trust",
            "labelers",
            "buying",
            "glossary",
        ]

    def test_figures_follow_the_page(self, hostile):
        """No colour of their own, so that they are light or dark with it."""
        for svg in re.findall(r"<svg.*?</svg>", hostile[1], flags=re.DOTALL):
            assert not re.search(r"#[0-9a-f]{6}", svg)
            assert "var(--" in svg

    def test_the_joint_model_finds_who_is_who(self, hostile):
        """The last never says the truth, in twenty answers or so, half of them to gold."""
        content, _ = hostile
        assert wording.shown(HOSTILE[11]) in [row.name for row in content.labelers.opposite.rows]
        assert content.outcome.worth.num_answers == 4
        assert content.outcome.worth.num_independent < 4

    @pytest.mark.slow
    def test_large_crowds_make_no_large_page(self, key):
        rng = np.random.default_rng(0)
        example = np.repeat(np.arange(5000), 3)
        labels = Labels.from_arrays(
            example, rng.integers(0, 2000, 15000), rng.integers(0, 3, 15000), num_classes=3
        )
        gold = Assessment(jnp.asarray(np.where(np.arange(5000) < 20, 0, -1), jnp.int8), 3)
        long = "x" * 300
        names = [
            np.array([f"{long}{i}" for i in range(n)], object)
            for n in (5000, labels.num_labelers, 3)
        ]
        text = render(examine(key, by_majority(Crowd(labels, gold, *names))), Origin("x", {}, 0.0))
        page = check_page(text)
        assert len(text.encode()) < 5_000_000
        assert page.tags.count("tr") < 150

    def test_no_gold(self, key, tmp_path):
        diagnose(jointly(Crowd.from_frames(FRAME)), tmp_path, key=key)
        assert {path.name for path in tmp_path.iterdir()} == {
            "report.html",
            "examples.csv",
            "labelers.csv",
        }
        body = "".join(check_page((tmp_path / "report.html").read_text("utf-8")).text)
        assert "This cannot be checked" in body

    @pytest.mark.parametrize(
        ("votes", "truth", "num_classes"),
        [
            ([(1, 0), (0, 1)], (), 2),  # one labeler, two examples
            ([(1, 0), (0, 1)], [0, 1], 2),  # all gold
            ([(2, 1)] * 3, [0], 2),  # some labelers without an interval
            ([tuple(np.eye(20, dtype=int)[i] * 2) for i in range(20)], [0, 1, 2], 20),
        ],
    )
    def test_odd_crowds(self, key, votes, truth, num_classes):
        content = examine(key, by_majority(voted(votes, truth, num_classes)))
        check_page(render(content, Origin("odd", {}, 0.0)))

    @pytest.mark.slow
    def test_one_labeler_jointly(self, key):
        crowd = Crowd.from_frames(
            pd.DataFrame({"task": ["a", "b"], "worker": ["u", "u"], "label": ["no", "yes"]})
        )
        content = examine(key, jointly(crowd))
        assert isinstance(content.trust.checks, PredictiveChecks)
        check_page(render(content, Origin("one", {}, 0.0)))


@pytest.mark.end_to_end
class TestInABrowser:
    @pytest.fixture
    def chromium(self, tmp_path):
        program = shutil.which("chromium")
        if program is None:
            pytest.skip("no Chromium")
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
        ]
        return lambda *more: subprocess.run(
            [program, *options, *more], capture_output=True, text=True, timeout=600, check=True
        )

    def test_loads_without_errors_and_fits_a_phone(self, hostile, chromium, tmp_path):
        """A page beside it measures it in a frame 360 pixels wide."""
        (tmp_path / "report.html").write_text(hostile[1], encoding="utf-8")
        (tmp_path / "measure.html").write_text(
            '<iframe src="report.html" style="width:360px;height:800px;border:0"></iframe><script>'
            "onload=()=>{const page=document.querySelector('iframe').contentDocument;"
            "document.title=page.documentElement.scrollWidth+' '+page.scripts.length+' '"
            "+page.querySelectorAll('section').length}</script>",
            encoding="utf-8",
        )
        run = chromium("--dump-dom", (tmp_path / "measure.html").as_uri())
        assert "CONSOLE" not in run.stderr
        width, scripts, sections = re.search(r"<title>(.*?)</title>", run.stdout)[1].split()
        assert int(width) <= 360
        assert (int(scripts), int(sections)) == (0, 7)
