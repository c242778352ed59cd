"""NUTS on a NumPyro model, chains laid out to suit the machine."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Key
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, init_to_median, init_to_uniform

_STATISTICS = ("diverging", "energy", "num_steps", "accept_prob", "adapt_state.step_size")


class Draws(NamedTuple):
    """Posterior draws, plain arrays.

    Attributes:
        posterior: draws of every site, each of shape (num_chains, num_draws, ...).
        sample_stats: what the sampler says of every draw, (num_chains, num_draws); empty for
            draws that are independent by construction.
        deterministic: names of the sites that are functions of others.
    """

    posterior: dict[str, npt.NDArray[Any]]
    sample_stats: dict[str, npt.NDArray[Any]]
    deterministic: tuple[str, ...] = ()


def run_nuts(
    key: Key[Array, ""],
    model: Callable[..., Any],
    *args: object,
    num_warmup: int = 1000,
    num_draws: int = 1000,
    num_chains: int = 4,
    target_accept_prob: float = 0.9,
    init_strategy: Callable[..., Any] = init_to_uniform,
    progress: bool = False,
) -> Draws:
    """Draw from the posterior of `model(*args)` by NUTS.

    On a CPU chains run in parallel, which needs a device for each: call
    `numpyro.set_host_device_count(4)` before JAX starts. Elsewhere they are vectorised.

    Args:
        key: random key; the layout of the chains also enters the draws.
        model: NumPyro model.
        *args: its arguments.
        num_warmup: warm-up draws per chain, not kept.
        num_draws: draws kept per chain.
        num_chains: number of chains.
        target_accept_prob: higher takes smaller steps.
        init_strategy: where chains start, one of NumPyro's.
        progress: show a progress bar.

    Warns:
        UserWarning: on a CPU with fewer devices than chains; they are vectorised then.
    """
    on_cpu = jax.default_backend() == "cpu"
    parallel = on_cpu and jax.local_device_count() >= num_chains
    if on_cpu and not parallel:
        warnings.warn(
            f"{num_chains} chains share {jax.local_device_count()} CPU device(s) and take longer; "
            f"call numpyro.set_host_device_count({num_chains}) before JAX starts.",
            stacklevel=2,
        )
    mcmc = MCMC(
        NUTS(model, target_accept_prob=target_accept_prob, init_strategy=init_strategy),
        num_warmup=num_warmup,
        num_samples=num_draws,
        num_chains=num_chains,
        chain_method="parallel" if parallel else "vectorized",
        progress_bar=progress,
    )
    mcmc.run(key, *args, extra_fields=_STATISTICS)
    return Draws(
        posterior=_as_arrays(mcmc.get_samples(group_by_chain=True)),
        sample_stats=_as_arrays(mcmc.get_extra_fields(group_by_chain=True)),
        deterministic=_deterministic(model, *args),
    )


def _deterministic(model: Callable[..., Any], *args: object) -> tuple[str, ...]:
    sites: dict[str, dict[str, Any]] = {}

    def run() -> None:
        traced = handlers.trace(handlers.seed(model, jax.random.key(0))).get_trace(*args)
        sites.update(traced)

    jax.eval_shape(run)  # names only: nothing is drawn
    return tuple(name for name, site in sites.items() if site["type"] == "deterministic")


def sample_chain(
    key: Key[Array, ""],
    model: Callable[..., Any],
    *args: object,
    num_warmup: int,
    num_draws: int,
    thinning: int = 1,
    target_accept_prob: float = 0.9,
) -> tuple[dict[str, Array], Bool[Array, " num_draws"]]:
    """One chain of `run_nuts` as a pure function of arrays: jit it, and map it over data sets.

    The chain starts at the median of draws from the prior, where labelers are better than chance.

    Args:
        key: random key.
        model: NumPyro model.
        *args: its arguments, the data among them, which may be tracers.
        num_warmup: warm-up draws, not kept; rounded up to a multiple of `thinning`.
        num_draws: draws kept.
        thinning: of so many draws one is kept.
        target_accept_prob: higher takes smaller steps.

    Returns:
        Draws of every sample site and of what follows from them, (num_draws, ...) each; and
        whether a transition since the draw before diverged.
    """
    kernel = NUTS(
        model, target_accept_prob=target_accept_prob, init_strategy=init_to_median(num_samples=15)
    )
    state = kernel.init(key, num_warmup, model_args=args)

    def step(state: Any, _: None) -> tuple[Any, Bool[Array, ""]]:
        state = kernel.sample(state, args, {})
        return state, state.diverging

    def draw(state: Any, _: None) -> tuple[Any, tuple[Any, Bool[Array, ""]]]:
        state, diverging = jax.lax.scan(step, state, None, thinning)
        return state, (state.z, diverging.any())

    # One loop for both, since a transition takes long to compile.
    num_before = -(-num_warmup // thinning)
    _, drawn = jax.lax.scan(draw, state, None, num_before + num_draws)
    sites, diverging = jax.tree.map(lambda values: values[num_before:], drawn)
    return jax.vmap(kernel.postprocess_fn(args, {}))(sites), diverging


def _as_arrays(sites: dict[str, Array]) -> dict[str, npt.NDArray[Any]]:
    return {name.split(".")[-1]: np.asarray(values) for name, values in sites.items()}
