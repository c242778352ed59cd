"""Labels unknown, everything exact: a sum over all labelings, labelers integrated out. NumPy.

For a few examples alone: there are num_classes ** num_examples labelings.
"""

import itertools
from typing import NamedTuple

import numpy as np
from scipy.special import betaln, gammaln, logsumexp


class Exact(NamedTuple):
    """What the answers and the gold say.

    Attributes:
        class_probs: class posterior of each example.
        parameters: posterior mean accuracies (J,), or confusion matrices (J, K, K).
        class_prior: posterior mean proportions of the classes, where they are learnt.
        log_evidence: log-probability of all answers and of the gold.
        labelings: every labeling that the gold allows, (num_labelings, N).
        log_joint: log-probability of the answers and each labeling.
    """

    class_probs: np.ndarray
    parameters: np.ndarray
    class_prior: np.ndarray | None
    log_evidence: float
    labelings: np.ndarray
    log_joint: np.ndarray


class ExactDifficulty(NamedTuple):
    """What they say where examples are easy or hard.

    Attributes:
        class_probs: class posterior of each example.
        prob_hard: posterior probability of each example that it is hard.
        log_evidence: log-probability of all answers and of the gold.
    """

    class_probs: np.ndarray
    prob_hard: np.ndarray
    log_evidence: float


def exact(table, gold, shape, num_classes=2, class_prior=None):
    """Posterior given a table of answers, -1 where there is none.

    Args:
        table: answers, `table[labeler, example]`.
        gold: true class of each example, -1 where it is not known.
        shape: (2,) for accuracies from one Beta distribution; (K, K) for the rows of confusion
            matrices from Dirichlet distributions; (K, 2), K above two, for accuracies by class.
        num_classes: K.
        class_prior: (K,) or (N, K); proportions with a flat prior when absent.
    """
    shape = np.asarray(shape, np.float64)
    table, gold = np.asarray(table), np.asarray(gold)
    choices = [range(num_classes) if known < 0 else [known] for known in gold]
    labelings = np.array(list(itertools.product(*choices)))
    if shape.ndim == 1:
        joint_of_answers = one_coin
    else:
        joint_of_answers = confusion if shape.shape[1] == num_classes else class_conditional
    log_joint, parameters, proportions = [], [], []
    for labeling in labelings:
        log_answers, mean = joint_of_answers(table, labeling, shape, num_classes)
        in_class = np.bincount(labeling, minlength=num_classes)
        if class_prior is None:
            log_labels = gammaln(num_classes) + gammaln(1 + in_class).sum()
            log_labels -= gammaln(num_classes + len(labeling))
        else:
            rows = np.broadcast_to(class_prior, (len(labeling), num_classes))
            log_labels = np.log(rows[np.arange(len(labeling)), labeling]).sum()
        log_joint.append(log_answers + log_labels)
        parameters.append(mean)
        proportions.append((1 + in_class) / (num_classes + len(labeling)))
    log_evidence = logsumexp(log_joint)
    weight = np.exp(log_joint - log_evidence)
    one_hot = np.eye(num_classes)[labelings]
    return Exact(
        class_probs=np.tensordot(weight, one_hot, 1),
        parameters=np.tensordot(weight, np.array(parameters), 1),
        class_prior=None if class_prior is not None else weight @ np.array(proportions),
        log_evidence=float(log_evidence),
        labelings=labelings,
        log_joint=np.array(log_joint),
    )


def one_coin(table, labeling, shape, num_classes):
    """Beta-binomial log-probability of the answers, and mean accuracies, given all labels."""
    right = ((table >= 0) & (table == labeling)).sum(axis=1)
    wrong = ((table >= 0) & (table != labeling)).sum(axis=1)
    a, b = shape
    log_prob = betaln(a + right, b + wrong) - betaln(a, b) - wrong * np.log(num_classes - 1)
    return log_prob.sum(), (a + right) / (a + b + right + wrong)


def confusion(table, labeling, shape, num_classes):
    """Dirichlet-multinomial log-probability, and mean confusion matrices, given all labels."""
    counts = np.zeros((len(table), num_classes, num_classes))
    for j, i in zip(*np.nonzero(table >= 0), strict=True):
        counts[j, labeling[i], table[j, i]] += 1
    rows = shape + counts
    log_prob = gammaln(rows).sum() - gammaln(rows.sum(axis=2)).sum()
    log_prob -= len(table) * (gammaln(shape).sum() - gammaln(shape.sum(axis=1)).sum())
    return log_prob, rows / rows.sum(axis=2, keepdims=True)


def class_conditional(table, labeling, shape, num_classes):
    """Beta-binomial log-probability, and mean accuracies by class, given all labels."""
    total, mean = 0.0, []
    for y in range(num_classes):
        of_class = np.where(labeling == y, table, -1)
        log_prob, of_labelers = one_coin(of_class, labeling, shape[y], num_classes)
        total += log_prob
        mean.append(of_labelers)
    return total, np.stack(mean, axis=1)


def difficulty(table, gold, easy, hard, hard_share, num_classes, class_prior):
    """Posterior of classes and hardness where examples are easy or hard.

    Args:
        table: answers, `table[labeler, example]`.
        gold: true class of each example, -1 where it is not known.
        easy: shape of the Beta distribution of accuracies on easy examples.
        hard: the same on hard examples.
        hard_share: shape of the Beta distribution of the share of hard examples.
        num_classes: K.
        class_prior: (K,).
    """
    table, size = np.asarray(table), len(gold)
    choices = [range(num_classes) if known < 0 else [known] for known in gold]
    log_joint, labelings, kinds = [], [], []
    for labeling in map(np.array, itertools.product(*choices)):
        for is_hard in map(np.array, itertools.product([False, True], repeat=size)):
            log_prob = np.log(class_prior)[labeling].sum() - betaln(*hard_share)
            log_prob += betaln(hard_share[0] + is_hard.sum(), hard_share[1] + (~is_hard).sum())
            for shape, kind in ((easy, ~is_hard), (hard, is_hard)):
                log_prob += one_coin(np.where(kind, table, -1), labeling, shape, num_classes)[0]
            log_joint.append(log_prob)
            labelings.append(labeling)
            kinds.append(is_hard)
    log_evidence = logsumexp(log_joint)
    weight = np.exp(log_joint - log_evidence)
    class_probs = np.tensordot(weight, np.eye(num_classes)[np.array(labelings)], 1)
    return ExactDifficulty(class_probs, weight @ np.array(kinds), float(log_evidence))
