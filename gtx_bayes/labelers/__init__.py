"""How a labeler errs, one model per file."""

from gtx_bayes.labelers.base import AbstractLabelerModel as AbstractLabelerModel
from gtx_bayes.labelers.one_coin import OneCoin as OneCoin
