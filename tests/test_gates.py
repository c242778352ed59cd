"""Gates for pipelines: what has to be shown, and what is said of it."""

import numpy as np
import pytest

from gtx_bayes.cli.gates import Gate, parse_gates
from gtx_bayes.errors import InputError


class TestGates:
    @pytest.mark.parametrize(
        ("ends", "holds", "words"),
        [
            ((0.92, 0.97), True, "is at least 0.9."),
            ((0.8, 0.95), False, "is not shown to be at least 0.9, nor to be otherwise"),
            ((0.7, 0.8), False, "is not at least 0.9: 95 % interval 0.7 to 0.8"),
            ((np.nan, np.nan), False, "it is not known"),
        ],
    )
    def test_what_is_said(self, ends, holds, words):
        found = Gate("accuracy", "low", 0.9).check(*ends)
        assert found.holds == holds
        assert words in found.words("It")
        assert found.record()["holds"] == holds

    def test_bad_requests(self):
        for text, message in (("x", "no measure and bound"), ("y=1", "none of the measures")):
            with pytest.raises(InputError, match=message):
                parse_gates("--o", "low", [text], ["x"], called="measure and bound", example="x=1")
