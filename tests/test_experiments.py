import jax
import numpy as np

from gtx_bayes.aggregation.aggregate import METHODS
from gtx_bayes.experiments.demo import KNOWN_ACCURACY, Config, run


def test_demo_in_small(key):
    config = Config(num_labelers=4, num_examples=30, labels_per_example=3, gold_per_labeler=2)
    result = run(key, config)
    assert list(result.comparison["method"]) == [*METHODS, KNOWN_ACCURACY]
    assert len(result.truth) == 32
    assert result.crowd.labels.num_labels == 2 * 4 + 30 * 3
    assert result.accuracy.shape == (4,)
    assert ((result.accuracy >= 0.6) & (result.accuracy <= 0.9)).all()
    assert int(result.reliability["gtx-bayes"].num_examples.sum()) == 30


def test_demo_repeats_itself_for_the_same_key():
    config = Config(num_labelers=4, num_examples=30, labels_per_example=3, gold_per_labeler=2)
    first, again = (run(jax.random.key(3), config) for _ in range(2))
    np.testing.assert_array_equal(first.best.class_probs, again.best.class_probs)
