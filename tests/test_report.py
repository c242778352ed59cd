"""The report: its numbers by hand, its light, and a page that no name can break out of."""

import re
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.calibration import HeldOut
from gtx_bayes.diagnostics.predictive import PredictiveChecks
from gtx_bayes.diagnostics.report import diagnose, wording
from gtx_bayes.diagnostics.report.buying import plan_buying, value_of_answer
from gtx_bayes.diagnostics.report.content import examine
from gtx_bayes.diagnostics.report.gold import count_wrong
from gtx_bayes.diagnostics.report.incoming import count_incoming
from gtx_bayes.diagnostics.report.labelers import describe_labelers, informedness
from gtx_bayes.diagnostics.report.outcome import describe_outcome
from gtx_bayes.diagnostics.report.page import Origin, render
from gtx_bayes.diagnostics.report.trust import judge_trust
from gtx_bayes.errors import InputError
from gtx_bayes.labels import Assessment, Labels
from tests.crowds import crowd_of, voted
from tests.pages import HOSTILE, check_page
from tests.test_aggregation import FRAME


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
        ("found", "words"),
        [
            ([wording.percent(x) for x in (0.0, 0.001, 0.5)], ["0 %", "under 1 %", "50 %"]),
            ([wording.percent(x) for x in (0.9999, 1.0)], ["over 99 %", "100 %"]),
            ([wording.counted(1, "example has", "examples have")], ["1 example has"]),
            ([wording.counted(5000, "label")], ["5,000 labels"]),
            ([wording.amount(x) for x in (0.0, 0.01, 3.14)], ["0.0", "under 0.1", "3.1"]),
            ([wording.amount(1234.5)], ["1,234"]),
            ([wording.ordinal(x) for x in (1, 2, 3, 4)], ["1st", "2nd", "3rd", "4th"]),
            ([wording.ordinal(x) for x in (11, 12, 113)], ["11th", "12th", "113th"]),
            # The ends of an interval are never written alike.
            ([wording.interval((0.5, 0.75))], ["0.50 to 0.75"]),
            ([wording.interval((0.5281, 0.5287))], ["0.528 to 0.529"]),
            ([wording.interval((0.53, 0.53))], ["0.5300"]),
        ],
    )
    def test_numbers(self, found, words):
        assert found == words


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
        assert list(found.classes.itertuples(index=False, name=None)) == [
            ("no", 2, pytest.approx(2 / 3 + 1), 1),
            ("yes", 1, pytest.approx(1 / 3 + 1), 0),
            ("maybe", 0, 0.0, 0),
        ]
        assert found.num_open == 2
        assert found.expected_wrong == pytest.approx(1 / 3)
        accepted = found.accepted.set_index("least_confident")
        assert list(accepted.loc[0.8]) == [1, 0.5, 0.0, 0, 0]
        assert list(accepted.loc[0.5]) == [2, 1.0, pytest.approx(1 / 3), 0, 0]
        assert found.worth is None
        assert found.num_differing == 0

    def test_labelers(self, result, key):
        """On gold u is wrong once, v right once, and nothing is known of w: nobody is the best."""
        found = describe_labelers(key, result, result.labelers(), None)
        assert found.num_unknown == 1
        assert found.best.empty
        assert found.uninformed.empty
        assert found.opposite.empty
        assert found.pairs == ()

    def test_buying(self, result, key):
        found = plan_buying(key, result)
        assert list(found.batch["task"]) == ["a", "b"]
        assert found.batch["probs"][0][0] == ("no", pytest.approx(2 / 3))
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
        row = found.differing.iloc[0]
        assert (row["label"], row["voted"]) == ("c1", "c0")
        assert list(row[["votes_for_label", "votes_for_voted", "num_labels"]]) == [1, 2, 3]


class TestLabelers:
    def test_informedness(self):
        """One coin at accuracy a: |K a - 1| / (K - 1); the same answer to all: nothing.

        Two classes: sensitivity plus specificity minus one, either way round (Youden).
        """
        coin = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
        constant = np.tile([0.6, 0.3, 0.1], (3, 1))
        opposite = (1 - np.eye(3)) / 2
        found = informedness(jnp.asarray(np.stack([np.eye(3), coin, constant, opposite])))
        np.testing.assert_allclose(found, [1.0, 0.7, 0.0, 0.5], atol=1e-6)
        found = informedness(jnp.array([[[0.9, 0.1], [0.4, 0.6]], [[0.1, 0.9], [0.6, 0.4]]]))
        np.testing.assert_allclose(found, [0.5, 0.5], rtol=1e-5)

    def test_groups_of_a_crowd(self, key):
        """Of gold alone: one who flips coins, one who says the opposite, one who knows."""
        truth = np.arange(400) % 2
        guesses = np.arange(400) // 2 % 2
        result = by_majority(crowd_of(np.stack([guesses, 1 - truth, truth]), truth))
        found = describe_labelers(key, result, result.labelers(), None)
        groups = (found.uninformed, found.opposite, found.best)
        assert [list(group["worker"]) for group in groups] == [["w0"], ["w1"], ["w2"]]
        assert list(found.uninformed["informed_low"]) == [0.0]
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
        assert set(found.contradicted["worker"]) == {"w0", "w2"}
        assert found.num_below == 1
        (best,) = found.best.itertuples()
        assert (best.worker, best.num_correct, best.num_gold) == ("w1", 57, 60)
        assert "2 are contradicted by gold" in found.verdict

    def test_worse_than_guessing_by_gold_alone(self, key):
        """Right on 6 of 60, whatever is claimed."""
        dense = [self.TRUTH ^ (np.arange(60) % 10 != 0), self.TRUTH]
        found = self.described(key, dense, self.TRUTH, [(0.6, 0.7), (0.9, 1.0)])
        assert list(found.opposite["worker"]) == ["w0"]
        assert list(found.best["worker"]) == ["w1"]

    def test_a_weak_labeler_is_no_guesser(self, key):
        """Of 1,000 right on 590, which guesses never are, or on 510, which they are."""
        truth = np.arange(1000) % 2
        weak = truth ^ (np.arange(1000) // 2 % 100 >= 59)
        guesses = truth ^ (np.arange(1000) // 2 % 100 >= 51)
        result = by_majority(crowd_of(np.stack([weak, guesses, truth]), truth))
        found = describe_labelers(key, result, result.labelers(), None)
        assert list(found.uninformed["worker"]) == ["w1"]

    def test_one_class_only(self, key):
        """Answers of one class, right as often as the class occurs: apart from the guessers."""
        result = by_majority(crowd_of(np.stack([np.zeros(60, int), self.TRUTH]), self.TRUTH))
        found = describe_labelers(key, result, result.labelers(), None)
        assert list(found.constant["worker"]) == ["w0"]
        assert found.uninformed.empty
        assert "1 gives one class only" in found.verdict


class TestValueOfAnswer:
    @pytest.mark.parametrize(
        ("class_probs", "rows", "worth", "value"),
        [
            ([0.5, 0.5], [[0.8, 0.2], [0.2, 0.8]], 1.0, 0.3),
            ([0.9, 0.1], [[0.8, 0.2], [0.2, 0.8]], 1.0, 0.0),  # no such answer can turn it
            ([0.5, 0.5], [[0.8, 0.2], [0.2, 0.8]], 0.5, 2 / 3 - 1 / 2),  # half the log odds
            ([0.5, 0.5], [[0.6, 0.4], [0.6, 0.4]], 1.0, 0.0),
        ],
    )
    def test_by_hand(self, class_probs, rows, worth, value):
        found = value_of_answer(jnp.array(class_probs), jnp.array([rows]), worth)
        np.testing.assert_allclose(found, [value], rtol=1e-5, atol=1e-6)

    def test_answers_past_the_cap_are_left_to_experts(self, key):
        """At rho = 1/2 the fourth answer adds 1/10 of one, the fifth less: a cap of four."""
        crowd = voted([(2, 2)] * 3 + [(3, 0)] * 20)
        result = aggregate(crowd, model="one-coin", class_prior=[0.5, 0.5], dependence=0.5)
        found = plan_buying(key, result)
        assert (found.most_useful, found.num_beyond) == (4, 3)
        even, *_, sure = found.batch.itertuples()
        assert (even.num_labels, sure.num_labels) == (4, 3)
        assert even.most_gain == even.gain


class TestLight:
    """Votes of two to one promise two thirds: which gold they meet decides."""

    def trust(self, key, truth):
        return judge_trust(key, by_majority(voted([(2, 1)] * 150, truth)), None)

    def test_too_little(self, key):
        trust = self.trust(key, [0] * 150)
        assert trust.light == "amber"
        assert "promises too little" in trust.reasons[0].words

    def test_few_can_show_little(self, key):
        """Two standard errors of 32 labels, two thirds right: 17 points."""
        content = examine(key, by_majority(voted([(2, 1)] * 150, [0, 0, 1] * 10 + [0, 1])))
        assert content.trust.light == "amber"
        assert "only a gap of 17 points or more" in content.trust.reasons[0].words
        assert content.trust.wanted_gold == {0.1: 89, 0.05: 356}
        assert "an expert label about 57 more examples" in content.actions[0].words

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
        found = trust.contradictions
        assert (found.number, found.num_unanimous, found.num_expected) == (20, 20, 0.0)
        assert len(found.rows) == 10
        columns = ["gold", "crowd", "votes_for_gold", "num_labels"]
        assert list(found.rows[columns].iloc[0]) == ["c1", "c0", 0, 3]
        assert any("rules out 20 gold labels" in reason.words for reason in trust.reasons)

    def test_nothing_is_counted_by_refuted_confidence(self, key):
        """Two thirds are promised, 53 % are right: no thresholds, and the number by gold."""
        truth = ([0] * 8 + [1] * 7) * 10
        content = examine(key, by_majority(voted([(2, 1)] * 250, truth)))
        assert content.trust.is_refuted
        assert content.trust.light == "red"
        assert content.trust.verdict == "Confidence is not honest: it promises too much."
        assert content.trust.calibration.verdict.startswith("Confidence is not honest.")
        assert "promises too much" in content.trust.reasons[0].words
        assert content.outcome.accepted.empty
        first = content.actions[0].words
        assert first.startswith("Set no threshold by confidence")
        by_gold = content.outcome.by_gold
        assert (by_gold.num_hidden, by_gold.num_wrong, by_gold.num_open) == (150, 70, 100)
        assert by_gold.expected == pytest.approx(140 / 3)
        assert by_gold.low < by_gold.expected < by_gold.high
        assert f"about {by_gold.words} of 100 labels" in first
        assert "but gold refutes that" in content.outcome.wrong_words
        assert "is not counted" in content.buying.verdict
        body = "".join(check_page(render(content, Origin("refuted", {}, 0.0))).text)
        assert "Nothing is said of labels above a confidence" in body

    def test_limits_of_the_number_wrong(self):
        """Of four hidden labels two wrong, three open: none, or all three, would be no surprise.

        Of forty hidden labels none wrong and forty open: of 80 with six wrong a random half holds
        none with probability .013, with five wrong .027.
        """
        for truth, num_open, limits in (([0, 1, 0, 1], 3, (0, 3)), ([0] * 40, 40, (0, 5))):
            first = jnp.tile(jnp.array([1.0, 0.0]), (len(truth), 1))
            held_out = HeldOut(
                first, jnp.array(truth), np.arange(len(truth)), np.arange(len(truth))
            )
            assert count_wrong(held_out, num_open)[-2:] == limits

    def test_quality_is_not_honesty(self, key):
        """A third of the labels are wrong, as promised: green, and the page says a third."""
        result = by_majority(voted([(2, 1)] * 250, [0, 0, 1] * 50))
        content = examine(key, result)
        assert content.trust.light == "green"
        assert content.trust.verdict.startswith("Confidence is honest, as far as 150 hidden gold")
        assert "it found 67 %, where 67 % were promised" in content.trust.reasons[0].words
        assert not content.trust.contradictions.is_excess
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
        assert content.labelers.best.empty
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
        trust = judge_trust(key, by_majority(voted(votes, [0] * 98 + [1] * 2)), None)
        found = trust.contradictions
        assert found.number == 2
        assert found.num_expected == pytest.approx(2.5)
        assert not found.is_excess
        assert not any("rules out" in reason.words for reason in trust.reasons)


@pytest.fixture(scope="module")
def hostile():
    """A joint result in which every name is hostile, and what the page says of it.

    As large as fits into the smallest padded size of tables, which all tests here share.
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
        expected = "actions incoming outcome trust labelers panel buying glossary"
        assert re.findall(r'<h2 id="(\w+)">', hostile[1]) == expected.split()

    def test_how_far_labelers_agree(self, hostile):
        content, text = hostile
        alpha = content.labelers.agreement.set_index("coefficient").loc["krippendorff_alpha"]
        row = f'Krippendorff alpha</th><td class="n">{alpha["value"]:.3f}</td>'
        assert row in text
        assert wording.interval((alpha["ci_low"], alpha["ci_high"])) in text

    def test_figures_follow_the_page(self, hostile):
        """No colour of their own, so that they are light or dark with it."""
        for svg in re.findall(r"<svg.*?</svg>", hostile[1], flags=re.DOTALL):
            assert not re.search(r"#[0-9a-f]{6}", svg)
            assert "var(--" in svg

    def test_the_joint_model_finds_who_is_who(self, hostile):
        """The last never says the truth, in twenty answers or so, half of them to gold."""
        content, _ = hostile
        assert HOSTILE[11] in list(content.labelers.opposite["worker"])
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
        folder = tmp_path / "new" / "report"
        diagnose(jointly(Crowd.from_frames(FRAME)), folder, key=key)
        assert {path.name for path in folder.iterdir()} == {
            "report.html",
            "examples.csv",
            "labelers.csv",
            "panel.csv",
            "confusion.csv",
        }
        body = "".join(check_page((folder / "report.html").read_text("utf-8")).text)
        assert "This cannot be checked" in body

    def test_tables_of_somebody_else_stay(self, key, tmp_path):
        (tmp_path / "examples.csv").write_text("mine")
        result = by_majority(Crowd.from_frames(FRAME))
        with pytest.raises(InputError, match=r"holds 'examples\.csv', and no report"):
            diagnose(result, tmp_path, key=key)
        with pytest.raises(InputError, match="it is no directory"):
            diagnose(result, tmp_path / "examples.csv", key=key)
        assert [path.name for path in tmp_path.iterdir()] == ["examples.csv"]
        assert (tmp_path / "examples.csv").read_text() == "mine"

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
        options = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
            "--disable-background-networking --disable-component-update "
            f"--allow-file-access-from-files --enable-logging=stderr --user-data-dir={tmp_path}/of"
        ).split()
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
        assert (int(scripts), int(sections)) == (0, 8)
