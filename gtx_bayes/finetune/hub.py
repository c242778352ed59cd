"""Files of the Hugging Face hub, and what to do where they cannot be had."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

from huggingface_hub.errors import HfHubHTTPError

from gtx_bayes.errors import InputError

# From the HTTP library under the hub's client, which lets it through when a transfer breaks.
_HTTP_ERROR = cast("type[Exception]", HfHubHTTPError.__bases__[0])


def fetched(what: str, where: str, by_hand: str, download: Callable[[], str]) -> Path:
    """Path of what a function of the hub's client downloads, unless it was downloaded before.

    Args:
        what: is fetched, for messages.
        where: it is on the hub.
        by_hand: how to get it without the client.
        download: returns the path.

    Raises:
        InputError: if it cannot be had.
    """
    try:
        return Path(download())
    except (OSError, _HTTP_ERROR) as error:
        raise InputError(
            f"{what} could not be downloaded ({error.__cause__ or error}).",
            where=where,
            hint=by_hand,
        ) from error
