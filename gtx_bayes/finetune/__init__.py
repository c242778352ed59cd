"""A classifier of images, fine-tuned on labels: the network, its weights, data and training.

Importing anything here needs the extra of the same name.
"""

import importlib.util

from gtx_bayes.errors import InputError

_ABSENT = [
    name
    for name in ("flax", "optax", "safetensors", "huggingface_hub", "PIL")
    if importlib.util.find_spec(name) is None
]
if _ABSENT:
    raise InputError(
        f"fine-tuning needs {', '.join(_ABSENT)}, not installed here.",
        hint="Run `pip install 'gtx_bayes[finetune]'`.",
    )
