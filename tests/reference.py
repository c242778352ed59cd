"""The posterior as the paper writes it: products of probabilities, one example at a time, in NumPy.

Extended precision where the machine has it, so that products of 200 factors keep their digits.
"""

import numpy as np

REAL = np.longdouble


def product_form(labels, accuracy, class_prior, certain=0):
    """Unnormalised P(y) prod_j P(label_j | y), shape (num_classes,).

    `certain` replaces the probability of what a labeler of accuracy 0 or 1 never does.
    """
    num_classes = len(class_prior)
    weights = np.asarray(class_prior, REAL).copy()
    for label, alpha in zip(labels, np.asarray(accuracy, REAL), strict=True):
        if label < 0:
            continue
        right = alpha if alpha > 0 else REAL(certain)
        wrong = (1 - alpha if alpha < 1 else REAL(certain)) / (num_classes - 1)
        weights *= np.where(np.arange(num_classes) == label, right, wrong)
    return weights


def posterior(labels, accuracy, class_prior, certain=0):
    weights = product_form(labels, accuracy, class_prior, certain)
    return weights / weights.sum()
