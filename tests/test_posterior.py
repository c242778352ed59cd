import chex
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gtx_bayes import decisions
from gtx_bayes.labels import MISSING, Labels, PaddedLabels, Prefixes
from gtx_bayes.models.confusion import ConfusionMatrix
from gtx_bayes.models.difficulty import HardExamples
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.posterior import (
    batch_class_posterior,
    batch_log_evidence,
    batch_log_odds,
    batch_log_prob,
    class_posterior,
    gather_evidence,
    no_evidence,
    update,
)
from tests import reference

pytestmark = pytest.mark.kernel

# Labelers, examples, classes; few, since each is compiled: one, few, a block of labelers and one
# above, and 200.
SIZES = ((1, 1, 2), (3, 4, 4), (16, 3, 2), (17, 3, 4), (200, 2, 2))
OF_TWO_AND_FOUR = SIZES[1:3]


@st.composite
def crowds(draw, low=0.02, high=0.98, sizes=SIZES, among=None):
    """A dense table of answers, accuracies exact in float32, the number of classes."""
    num_labelers, num_examples, num_classes = draw(st.sampled_from(sizes))
    labels = draw(
        hnp.arrays(np.int8, (num_labelers, num_examples), elements=st.integers(-1, num_classes - 1))
    )
    some = st.floats(np.float32(low).item(), np.float32(high).item(), width=32)
    some = some if among is None else st.sampled_from(among)
    accuracy = draw(hnp.arrays(np.float32, num_labelers, elements=some))
    return labels, accuracy, num_classes


FORMS = ("dense", "long", "by place")

defined_posterior = jax.jit(jax.vmap(class_posterior, (None, 1)))


def long_form(labels, num_classes):
    """With entries for the answers that are missing, so that one program serves a shape."""
    num_labelers, num_examples = labels.shape
    example, labeler = (at.ravel().astype(np.int32) for at in np.indices(labels.T.shape))
    columns = (jnp.asarray(column) for column in (example, labeler, labels.T.ravel()))
    return Labels(*columns, num_examples, num_labelers, num_classes)


def every_form(labels, num_classes):
    dense = jnp.asarray(labels)
    labeler = jnp.tile(jnp.arange(dense.shape[0])[:, None], (1, dense.shape[1]))
    return {
        "dense": dense,
        "long": long_form(labels, num_classes),
        "by place": PaddedLabels(labeler, dense, dense.shape[0], num_classes),
    }


def model_of(accuracy, num_classes):
    return OneCoin(jnp.asarray(accuracy, float), num_classes)


def test_worked_by_hand(rtol):
    """Labels (1, 1, 0), accuracies (.9, .8, .7): 0.216 against 0.014."""
    model = OneCoin(jnp.array([0.9, 0.8, 0.7]), num_classes=2)
    got = class_posterior(model, jnp.array([1, 1, 0]), class_prior=jnp.array([0.5, 0.5]))
    np.testing.assert_allclose(got, [0.014 / 0.230, 0.216 / 0.230], rtol=rtol)


@pytest.mark.optimised
@given(crowds())
def test_definition_and_kernels_against_products(crowd):
    """Within 1e-5 in float32 up to 200 labels an example, as good as exact in float64.

    From it follow the symmetries: in labelers, examples and classes, as the products have them.
    """
    labels, accuracy, num_classes = crowd
    model = model_of(accuracy, num_classes)
    prior = np.full(num_classes, 1 / num_classes)
    expected = np.array([reference.posterior(column, accuracy, prior) for column in labels.T])
    atol = 1e-5 if model.accuracy.dtype == jnp.float32 else 1e-12
    defined = defined_posterior(model, jnp.asarray(labels))
    np.testing.assert_allclose(defined, expected.astype(float), atol=atol)
    for form in every_form(labels, num_classes).values():
        got = batch_class_posterior(model, form)
        np.testing.assert_allclose(got, expected.astype(float), atol=atol)


@given(crowds(sizes=((1, 3, 4), (4, 5, 2), (18, 3, 4))), st.integers(0, 1000))
def test_prefixes_are_the_first_answers(crowd, seed):
    """Whatever the order in which each example got its answers, up to rounding."""
    labels, accuracy, num_classes = crowd
    num_labelers, num_examples = labels.shape
    order = np.argsort(np.random.default_rng(seed).random(labels.shape), axis=0)
    padded = PaddedLabels(
        jnp.asarray(order),
        jnp.asarray(np.take_along_axis(labels, order, axis=0)),
        num_labelers,
        num_classes,
    )
    np.testing.assert_array_equal(padded.dense(), labels)
    model = model_of(accuracy, num_classes)
    got = batch_class_posterior(model, Prefixes(padded))
    got = got.reshape(num_labelers + 1, num_examples, num_classes)
    for n, now in enumerate(got):
        expected = batch_class_posterior(model, padded.first(n))
        atol = 1e-5 if model.accuracy.dtype == jnp.float32 else 1e-12
        np.testing.assert_allclose(now, expected, atol=atol)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("accuracy", [(0.99, 0.99), (0.97, 0.951), (0.9, 0.88)])
def test_large_sums_that_cancel(form, accuracy):
    """100 answers for each class in turn: partial sums of hundreds of nats, then back to near 0."""
    alpha = np.repeat(np.float32(accuracy), 100)
    labels = np.repeat(np.int8([[1, 0], [0, 1]]), 100, axis=0)
    expected = [reference.posterior(c, alpha, [0.5, 0.5]).astype(float) for c in labels.T]
    got = batch_class_posterior(model_of(alpha, 2), every_form(labels, 2)[form])
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_hundred_thousand_answers_to_one_example():
    """Log odds of some nats left of ten thousand; only the remainders of the split are rounded.

    Their roundings add up like a random walk of that many steps, each at most half a unit of the
    largest partial sum: six standard deviations.
    """
    rng = np.random.default_rng(0)
    number = 100_000
    accuracy = rng.uniform(0.45, 0.55, number).astype(np.float32)
    label = rng.integers(0, 2, number)
    labels = Labels.from_arrays(np.zeros(number, int), np.arange(number), label, num_classes=2)
    got = float(batch_log_odds(model_of(accuracy, 2), labels)[0])
    alpha = accuracy.astype(float)
    terms = (2 * label - 1) * (np.log(alpha) - np.log1p(-alpha))
    remainder = 3 / 1024 * np.sqrt(number)  # at most of that size each, and of either sign
    eps = float(jnp.finfo(jnp.zeros(()).dtype).eps)
    assert abs(got - terms.sum()) < 6 * np.sqrt(number) * eps / 2 * remainder + 4 * eps * abs(got)


def test_equal_evidence_is_a_tie_in_any_order():
    """The same 20 accuracies behind both classes, shuffled: exactly tied, whatever the order."""
    rng = np.random.default_rng(7)
    accuracy = rng.uniform(0.6, 0.99, 20).astype(np.float32)
    both = np.tile(accuracy, 2)
    table = np.concatenate([np.zeros((20, 1), np.int8), np.ones((20, 1), np.int8)])
    for _ in range(50):
        rows = rng.permutation(40)
        for form in every_form(table[rows], 2).values():
            got = batch_class_posterior(model_of(both[rows], 2), form)
            assert int(decisions.num_tied(got)[0]) == 2


def test_missing_labels_leave_the_prior_and_no_evidence():
    model = OneCoin(jnp.array([0.9, 0.7, 0.6]), num_classes=4)
    nothing = np.full((3, 4), MISSING, np.int8)
    prior = jnp.array([0.2, 0.3, 0.4, 0.1])
    for form in every_form(nothing, 4).values():
        np.testing.assert_array_equal(batch_log_prob(model, form), np.zeros((4, 4)))
        got = batch_class_posterior(model, form, prior)
        np.testing.assert_allclose(got, np.tile(prior, (4, 1)), rtol=1e-6)


def test_padding_changes_nothing(rtol):
    model = OneCoin(jnp.array([0.9, 0.7]), num_classes=3)
    plain = Labels.from_arrays([0, 1], [0, 1], [2, 0], num_classes=3)
    padded = Labels.from_arrays([0, 1, 1, 0], [0, 1, 0, 0], [2, 0, MISSING, MISSING], num_classes=3)
    for kernel in (batch_log_prob, batch_class_posterior):
        np.testing.assert_allclose(kernel(model, plain), kernel(model, padded), rtol=rtol)


@pytest.mark.parametrize(
    ("num_labelers", "num_examples", "num_classes"),
    [(3, 4, 4), pytest.param(16, 3, 2, marks=pytest.mark.slow)],
)
def test_priors(num_labelers, num_examples, num_classes):
    """Uniform by default; per class; per example; a prior of zero excludes."""
    rng = np.random.default_rng(1)
    labels = rng.integers(MISSING, num_classes, (num_labelers, num_examples), np.int8)
    accuracy = rng.uniform(0.3, 0.9, num_labelers).astype(np.float32)
    model = model_of(accuracy, num_classes)
    per_example = rng.dirichlet(np.ones(num_classes), num_examples)
    per_example[0] = np.eye(num_classes)[1]
    for form in every_form(labels, num_classes).values():
        expected = [
            reference.posterior(column, accuracy, prior)
            for column, prior in zip(labels.T, per_example, strict=True)
        ]
        got = batch_class_posterior(model, form, jnp.asarray(per_example, float))
        np.testing.assert_allclose(got, np.array(expected, float), atol=2e-6)
        one = jnp.asarray(per_example[1], float)
        expected = [reference.posterior(column, accuracy, per_example[1]) for column in labels.T]
        np.testing.assert_allclose(
            batch_class_posterior(model, form, one), np.array(expected, float), atol=2e-6
        )
        uniform = jnp.full(num_classes, 1 / num_classes)
        np.testing.assert_allclose(
            batch_class_posterior(model, form),
            batch_class_posterior(model, form, uniform),
            rtol=1e-6,
        )


@pytest.mark.parametrize("form", FORMS)
def test_log_evidence(form):
    """Log of the summed products; the probabilities of all answer patterns sum to one."""
    rng = np.random.default_rng(2)
    accuracy = rng.uniform(0.3, 0.9, 3).astype(np.float32)
    every = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1).astype(np.int8)
    prior = np.array([0.2, 0.3, 0.5])
    got = batch_log_evidence(model_of(accuracy, 3), every_form(every, 3)[form], jnp.asarray(prior))
    expected = [np.log(reference.product_form(c, accuracy, prior).sum()) for c in every.T]
    np.testing.assert_allclose(got, np.array(expected, float), rtol=2e-6)
    np.testing.assert_allclose(np.exp(np.asarray(got, float)).sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    "model", [OneCoin(jnp.zeros(0), 2), HardExamples(jnp.zeros(0), jnp.zeros(0), jnp.array(0.2), 2)]
)
def test_nobody_says_nothing(model):
    np.testing.assert_allclose(model.likelihood(jnp.zeros(0, jnp.int8)).log(), [0.0, 0.0])


class TestCertainLabelers:
    """Accuracies of exactly 0 and 1: the limit of one small error probability for all of them."""

    @given(crowds(sizes=OF_TWO_AND_FOUR, among=[0.0, 1.0, 0.625, 0.75, 0.3125]))
    def test_limit(self, crowd):
        labels, accuracy, num_classes = crowd
        model = model_of(accuracy, num_classes)
        prior = np.full(num_classes, 1 / num_classes)
        tiny = reference.REAL(1e-40)
        expected = [reference.posterior(c, accuracy, prior, certain=tiny) for c in labels.T]
        for form in every_form(labels, num_classes).values():
            got = batch_class_posterior(model, form)
            np.testing.assert_allclose(got, np.array(expected, float), atol=2e-6)
        defined = defined_posterior(model, jnp.asarray(labels))
        np.testing.assert_allclose(defined, np.array(expected, float), atol=2e-6)

    @pytest.mark.parametrize("form", FORMS)
    def test_contradiction_leaves_the_rest_to_decide(self, form, rtol):
        labels = np.int8([[1], [0], [1]])
        model = OneCoin(jnp.array([1.0, 1.0, 0.7]), num_classes=2)
        got = batch_class_posterior(model, every_form(labels, 2)[form])
        np.testing.assert_allclose(got, [[0.3, 0.7]], rtol=rtol)

    @pytest.mark.parametrize("form", FORMS)
    def test_log_odds_are_infinite(self, form):
        model = OneCoin(jnp.array([1.0, 0.6]), num_classes=2)
        labels = np.int8([[1, 0, MISSING], [0, 0, 1]])
        got = batch_log_odds(model, every_form(labels, 2)[form])
        np.testing.assert_allclose(got, [np.inf, -np.inf, np.log(1.5)], rtol=1e-5)

    def test_evidence_of_a_contradiction_is_zero(self):
        model = OneCoin(jnp.array([1.0, 1.0]), num_classes=2)
        assert batch_log_evidence(model, jnp.int8([[1], [0]]))[0] == -np.inf

    def test_an_excluded_class_stays_excluded(self):
        """Certain labelers do not overrule a prior of exactly zero."""
        for num_classes in (2, 3):
            model = OneCoin(jnp.array([1.0]), num_classes)
            prior = jnp.zeros(num_classes).at[0].set(1.0)
            got = batch_class_posterior(model, jnp.int8([[1]]), prior)
            np.testing.assert_array_equal(got[0], np.eye(num_classes)[0])


@given(crowds(sizes=((3, 4, 2), (17, 3, 2))))
def test_log_odds(crowd):
    labels, accuracy, _ = crowd
    for form in every_form(labels, 2).values():
        got = batch_log_odds(model_of(accuracy, 2), form)
        expected = [reference.posterior(c, accuracy, [0.5, 0.5]) for c in labels.T]
        expected = np.array([np.log(p[1] / p[0]) for p in expected], float)
        np.testing.assert_allclose(got, expected, atol=2e-5, rtol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_more_answers_than_a_chunk(num_classes):
    """The long form is summed chunk by chunk: two whole ones and a part, padding in between."""
    rng, size = np.random.default_rng(11), 2 * 65_536 + 100
    example, labeler = np.sort(rng.integers(0, size // 4, size)), rng.integers(0, 50, size)
    label = rng.integers(MISSING, num_classes, size)
    accuracy = rng.uniform(0.3, 0.95, 50).astype(np.float32)
    labels = Labels.from_arrays(example, labeler, label, num_classes=num_classes)
    got = batch_class_posterior(model_of(accuracy, num_classes), labels)
    exact = accuracy.astype(float)
    weight = np.log(exact * (num_classes - 1) / (1 - exact))[labeler]
    cell = example * num_classes + label
    there = label != MISSING
    votes = np.bincount(cell[there], weight[there], labels.num_examples * num_classes)
    expected = scipy.special.softmax(votes.reshape(-1, num_classes), axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("form", ["dense", "long"])
def test_slope_of_log_odds(form):
    r"""By hand, :math:`\partial / \partial \alpha_j = \pm 1 / (\alpha_j (1 - \alpha_j))`."""
    labels, alpha = np.int8([[1, 0], [0, MISSING], [1, 1]]), np.array([0.9, 0.6, 0.7])
    form = every_form(labels, 2)[form]
    got = jax.grad(lambda accuracy: batch_log_odds(OneCoin(accuracy, 2), form).sum())(
        jnp.asarray(alpha)
    )
    np.testing.assert_allclose(got, np.array([0, -1, 2]) / (alpha * (1 - alpha)), atol=1e-5)


def test_log_odds_need_two_classes():
    with pytest.raises(ValueError, match="two classes, not 3"):
        batch_log_odds(OneCoin(jnp.array([0.6]), 3), jnp.int8([[1]]))


class TestUpdate:
    @given(
        crowds(low=0.0, high=1.0, sizes=((3, 4, 4), (17, 3, 2))),
        st.integers(0, 3),
    )
    def test_equals_gathering_afresh(self, crowd, split):
        """Answers in two batches, in any division, give the state of all answers at once."""
        labels, accuracy, num_classes = crowd
        model = model_of(accuracy, num_classes)
        now = labels.copy()
        now[:split] = MISSING
        later = labels.copy()
        later[split:] = MISSING
        state = gather_evidence(model, long_form(now, num_classes))
        state = update(state, model, long_form(later, num_classes))
        whole = gather_evidence(model, long_form(labels, num_classes))
        chex.assert_trees_all_close(state, whole, atol=1e-6)
        chex.assert_trees_all_equal(state.likelihood.coarse, whole.likelihood.coarse)
        np.testing.assert_allclose(
            state.class_posterior(),
            batch_class_posterior(model, jnp.asarray(labels)),
            atol=2e-6,
        )

    def test_from_nothing_one_answer_at_a_time(self):
        model = OneCoin(jnp.array([0.9, 0.8, 0.7]), num_classes=2)
        state = no_evidence(num_examples=2, num_classes=2)
        np.testing.assert_array_equal(state.class_posterior(), np.full((2, 2), 0.5))
        for labeler, label in enumerate([1, 1, 0]):
            answer = Labels.from_arrays(
                [1], [labeler], [label], num_classes=2, num_examples=2, num_labelers=3
            )
            state = update(state, model, answer)
        np.testing.assert_allclose(
            state.class_posterior(), [[0.5, 0.5], [0.014 / 0.23, 0.216 / 0.23]], rtol=1e-5
        )

    def test_reuses_the_memory_of_the_old_state(self):
        """No copy of the state: what makes the cost that of the new answers."""
        model = OneCoin(jnp.array([0.9]), num_classes=2)
        state = no_evidence(num_examples=1000, num_classes=2)
        answer = Labels.from_arrays([3], [0], [1], num_classes=2, num_examples=1000)
        pointer = state.likelihood.coarse.unsafe_buffer_pointer()
        after = update(state, model, answer)
        assert after.likelihood.coarse.unsafe_buffer_pointer() == pointer
        assert state.likelihood.coarse.is_deleted()

    def test_other_number_of_examples(self):
        model = OneCoin(jnp.array([0.9]), num_classes=2)
        answer = Labels.from_arrays([3], [0], [1], num_classes=2)
        with pytest.raises(ValueError, match="4 examples, the evidence of 5"):
            update(no_evidence(5, 2), model, answer)


@pytest.mark.parametrize("call", [batch_class_posterior, batch_log_prob])
def test_a_model_of_other_labelers_or_classes(call):
    two = Labels.from_arrays([0, 1], [0, 1], [0, 1], num_classes=2)
    with pytest.raises(ValueError, match="labels are of 2 labelers, the model of 3"):
        call(OneCoin(jnp.full(3, 0.8), 2), two)
    with pytest.raises((ValueError, jaxtyping.TypeCheckError)):  # the latter in tests alone
        call(OneCoin(jnp.full(3, 0.8), 2), jnp.zeros((1, 4), jnp.int8))
    with pytest.raises(ValueError, match="labels are of 2 classes, the model of 3"):
        call(OneCoin(jnp.full(2, 0.8), 3), two)
    with pytest.raises(ValueError, match="labels are of 2 labelers, the model of 3"):
        update(no_evidence(2, 2), OneCoin(jnp.full(3, 0.8), 2), two)


class TestTransformations:
    def test_vmap_over_cohorts_and_priors(self):
        rng = np.random.default_rng(3)
        accuracy = jnp.asarray(rng.uniform(0.5, 0.9, (4, 17)))
        prior = jnp.asarray(rng.dirichlet(np.ones(3), 4))
        labels = rng.integers(MISSING, 3, (17, 5))
        for form in every_form(labels, 3).values():
            many = jax.vmap(
                lambda alpha, pi, form=form: batch_class_posterior(OneCoin(alpha, 3), form, pi)
            )(accuracy, prior)
            one_by_one = [
                batch_class_posterior(OneCoin(alpha, 3), form, pi)
                for alpha, pi in zip(accuracy, prior, strict=True)
            ]
            np.testing.assert_allclose(many, np.stack(one_by_one), atol=2e-6)

    def test_compiles_once_per_shape(self):
        traced = chex.assert_max_traces(lambda m, x: batch_class_posterior(m, x), n=1)
        run = jax.jit(traced)
        for accuracy in (0.6, 0.7, 1.0):
            run(OneCoin(jnp.full(3, accuracy), 2), jnp.zeros((3, 4), jnp.int8))

    def test_promotes_no_ranks(self):
        labels = np.random.default_rng(4).integers(MISSING, 3, (17, 5))
        with jax.numpy_rank_promotion("raise"):
            for form in every_form(labels, 3).values():
                batch_log_evidence(OneCoin(jnp.full(17, 0.7), 3), form)

    @pytest.mark.gpu
    def test_accelerator_equals_cpu(self):
        rng = np.random.default_rng(5)
        for num_classes in (2, 5):
            labels = rng.integers(MISSING, num_classes, (40, 2000))
            accuracy = jnp.asarray(rng.uniform(0.3, 0.95, 40))
            for form in every_form(labels, num_classes).values():
                here = batch_class_posterior(OneCoin(accuracy, num_classes), form)
                cpu = jax.devices("cpu")[0]
                there = batch_class_posterior(
                    *jax.device_put((OneCoin(accuracy, num_classes), form), cpu)
                )
                np.testing.assert_allclose(here, there, atol=1e-5)


def test_more_than_eight_classes_take_the_other_loop():
    rng = np.random.default_rng(6)
    labels = rng.integers(MISSING, 12, (18, 7))
    accuracy = rng.uniform(0.2, 0.9, 18).astype(np.float32)
    expected = [reference.posterior(c, accuracy, np.full(12, 1 / 12)) for c in labels.T]
    for form in every_form(labels, 12).values():
        got = batch_class_posterior(model_of(accuracy, 12), form)
        np.testing.assert_allclose(got, np.array(expected, float), atol=1e-5)


class TestWhatIsNoLabel:
    """Refused where shapes and types tell; no evidence, whatever the form, where values do."""

    FUNCTIONS = (batch_class_posterior, batch_log_odds, batch_log_evidence, batch_log_prob)

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_a_table_of_floats(self, function):
        """NaN would count for class 0."""
        model = OneCoin(jnp.array([0.9, 0.7]), num_classes=2)
        with pytest.raises((ValueError, jaxtyping.TypeCheckError)):
            function(model, jnp.array([[jnp.nan, 1.0], [0.0, 1.0]]))

    @pytest.mark.parametrize("num_classes", [2, 3])
    def test_a_label_beyond_the_classes(self, num_classes, rtol):
        """As if it were missing, in every form that is not built by the checked constructors."""
        beyond = np.array([[1, num_classes], [0, 1], [num_classes + 3, 0]], np.int8)
        missing = np.where(beyond < num_classes, beyond, MISSING)
        accuracy = jnp.array([0.9, 0.7, 0.6])
        one_coin = OneCoin(accuracy, num_classes)
        for model in (one_coin, ConfusionMatrix(one_coin.confusion_matrix, num_classes)):
            expected = batch_log_prob(model, jnp.asarray(missing))
            for name in ("long", "by place"):
                got = batch_log_prob(model, every_form(beyond, num_classes)[name])
                np.testing.assert_allclose(got, expected, rtol=rtol)
            for i in range(2):
                got = model.log_prob(jnp.asarray(beyond[:, i]))
                np.testing.assert_allclose(got, expected[i], rtol=rtol)

    @pytest.mark.parametrize("labels", [[1], [1, 0, 1, 0]])
    def test_one_label_for_all_labelers(self, labels):
        model = OneCoin(jnp.array([0.9, 0.7, 0.6]), num_classes=2)
        for each in (model, ConfusionMatrix(model.confusion_matrix, 2)):
            with pytest.raises((ValueError, jaxtyping.TypeCheckError)):
                class_posterior(each, jnp.array(labels))

    def test_a_prior_of_other_classes(self):
        model = OneCoin(jnp.array([0.9]), num_classes=3)
        with pytest.raises((ValueError, jaxtyping.TypeCheckError)):
            batch_class_posterior(model, jnp.array([[1, 2]]), jnp.array([0.5, 0.5]))
