r"""The variational fit part by part: that of `variational.fit`, whose steps divide at the totals.

A pass renews the class posteriors of every part, given what all examples add up to, and adds up
the totals for the next. Class posteriors are kept after each pass until the second next, beside
those that it writes. The totals are kept last, so that a pass has been done or has not.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.inference import variational
from gtx_bayes.inference.joint import Choice
from gtx_bayes.inference.variational import State, Totals
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.streaming.crew import Crew
from gtx_bayes.streaming.parts import Part, PartedTable
from gtx_bayes.streaming.totals import StretchedSums, WholeTotals, as_whole

_RECORD = "pass.npz"
_FOLDER = "class_probs"


class Pass(NamedTuple):
    """Where the fit stands after a pass.

    Attributes:
        number: of the pass, from 0 for the votes.
        totals: what the examples add up to after it.
        prior: the labelers' prior that it was made with.
        change: largest change of a class probability.
    """

    number: int
    totals: WholeTotals
    prior: AbstractConjugatePrior
    change: float

    @property
    def converged(self) -> bool:
        """Whether it changed little."""
        return self.change <= variational.TOLERANCE

    @property
    def is_last(self) -> bool:
        """Whether no other pass follows."""
        return self.converged or self.number >= variational.MAX_STEPS


@dataclasses.dataclass(frozen=True)
class StreamedFit:
    """A model fitted to a table in parts.

    Attributes:
        table: the table.
        choice: the model.
        rows: where to start from, see `variational.start`.
    """

    table: PartedTable
    choice: Choice
    rows: variational.Rows | None = None

    @property
    def start_prior(self) -> AbstractConjugatePrior:
        """The prior of the labelers to start from."""
        prior = self.choice.candidate.prior
        assert isinstance(prior, AbstractConjugatePrior)
        return prior

    @property
    def class_prior(self) -> ClassPrior:
        """The prior of the classes that was given; uniform where it is learnt instead."""
        given = self.choice.candidate.class_prior
        num_classes = self.table.num_classes
        return jnp.full(num_classes, 1.0 / num_classes) if given is None else given

    @property
    def learns_class_prior(self) -> bool:
        """Whether the proportions of the classes are learnt."""
        return self.choice.candidate.class_prior is None

    def run(self, crew: Crew) -> Pass:
        """Passes from where the work stands until little changes."""
        is_begun = crew.has(self.table.work, _RECORD)
        done = self._last() if is_begun else self._begin(crew)
        while not done.is_last:
            done = self._go_on(crew, done)
        return done

    def state(self, part: int, done: Pass, device: jax.Device) -> State:
        """What a part's examples know after a pass."""
        kept = self.table.work.read_arrays(_after(done.number, part))
        if "kind_probs" not in kept:
            class_probs = kept["class_probs"]
            kept["kind_probs"] = np.ones((*class_probs.shape, 1), class_probs.dtype)
        there = jax.device_put(kept, device)
        return State(there["class_probs"], there["kind_probs"], done.prior)

    def _last(self) -> Pass:
        """Where the work stands."""
        kept = self.table.work.read_arrays(_RECORD)
        leaves, form = jax.tree.flatten(self.start_prior)
        leaves = [jnp.asarray(kept[f"prior_{at}"]) for at in range(len(leaves))]
        prior = jax.tree.unflatten(form, leaves)
        totals = WholeTotals(kept["counts"], kept["class_total"])
        return Pass(int(kept["number"]), totals, prior, float(kept["change"]))

    def _begin(self, crew: Crew) -> Pass:
        """The votes, or what gold says instead."""
        prior = self.start_prior
        if self.rows is not None:
            prior = prior.trusting_gold()

        def start(part: Part, number: int, device: jax.Device) -> tuple[State, Totals, float]:
            given = jax.device_put((prior, self.rows), device)
            return *_start(part.labels, part.assessment, part.sums, *given), np.inf

        return self._pass(crew, "Votes", 0, prior, start)

    def _go_on(self, crew: Crew, done: Pass) -> Pass:
        """A pass more."""
        totals = done.totals.totals()
        prior = _refit(done.prior, totals.counts)
        class_prior, learns = self.class_prior, self.learns_class_prior

        def renew(part: Part, number: int, device: jax.Device) -> tuple[State, Totals, float]:
            class_probs, kind_probs, _ = self.state(number, done, device)
            given = jax.device_put((prior, totals, class_prior), device)
            state, own, change = _renew(
                class_probs, kind_probs, part.labels, part.assessment, part.sums, *given, learns
            )
            return state, own, float(change)

        so_far = f", last change {done.change:.4f}" if done.number else ""
        stage = f"Pass {done.number + 1} (ends below {variational.TOLERANCE:g}{so_far})"
        return self._pass(crew, stage, done.number + 1, prior, renew)

    def _pass(
        self,
        crew: Crew,
        stage: str,
        number: int,
        prior: AbstractConjugatePrior,
        do: Callable[[Part, int, jax.Device], tuple[State, Totals, float]],
    ) -> Pass:
        """Do something for every part; keep the states, and last what they add up to."""
        table = self.table

        def one(part: int, device: jax.Device) -> tuple[WholeTotals, float]:
            rows = table.read(part, device)
            state, totals, change = do(rows, part, device)
            arrays = {"class_probs": np.asarray(state.class_probs)}
            if prior.num_kinds > 1:
                arrays["kind_probs"] = np.asarray(state.kind_probs)
            table.work.write_arrays(_after(number, part), **arrays)
            # What the pass before last left: to replace it would wait for the disk.
            table.work.remove(_after(number - 2, part))
            found = WholeTotals(rows.by_labeler(totals.counts), as_whole(totals.class_total))
            return found, change

        found = crew.do(
            stage,
            range(table.num_parts),
            lambda part: table.sizes[part].num_labels,
            one,
        )
        team = crew.team
        totals = WholeTotals(*crew.add_up([own for own, _ in found]))
        change = max(team.gather(max((change for _, change in found), default=0.0)))
        if team.rank == 0:
            leaves = {f"prior_{at}": np.asarray(x) for at, x in enumerate(jax.tree.leaves(prior))}
            table.work.write_arrays(
                _RECORD,
                number=np.array(number),
                change=np.array(change),
                **totals._asdict(),
                **leaves,
            )
        team.meet()
        return Pass(number, totals, prior, change)


@jax.jit
def _start(
    labels: Labels,
    assessment: Assessment,
    sums: StretchedSums,
    prior: AbstractConjugatePrior,
    rows: variational.Rows | None,
) -> tuple[State, Totals]:
    state = variational.start(labels, assessment, prior, rows)
    return state, Totals.of(labels, state, sums)


@partial(jax.jit, donate_argnames=("class_probs", "kind_probs"))
def _renew(
    class_probs: Float[Array, "num_examples num_classes"],
    kind_probs: Float[Array, "num_examples num_classes num_kinds"],
    labels: Labels,
    assessment: Assessment,
    sums: StretchedSums,
    prior: AbstractConjugatePrior,
    totals: Totals,
    class_prior: ClassPrior,
    learns: ScalarLike,
) -> tuple[State, Totals, Float[Array, ""]]:
    state = State(class_probs, kind_probs, prior)
    state, change = variational.renew(labels, assessment, state, totals, class_prior, learns)
    return state, Totals.of(labels, state, sums), change


@jax.jit
def _refit(
    prior: AbstractConjugatePrior, counts: Float[Array, "num_labelers ..."]
) -> AbstractConjugatePrior:
    return prior.refit(counts)


def _after(number: int, part: int) -> str:
    """Where a part's class posteriors after a pass are."""
    return f"{_FOLDER}/pass-{number:03d}-part-{part:05d}.npz"
