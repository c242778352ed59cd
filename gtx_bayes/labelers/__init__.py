"""Labeler models: how labelers err."""

from gtx_bayes.labelers.base import AbstractLabelers as AbstractLabelers
from gtx_bayes.labelers.class_conditional import ClassConditional as ClassConditional
from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix as ConfusionMatrix
from gtx_bayes.labelers.hard_examples import HardExamples as HardExamples
from gtx_bayes.labelers.one_coin import OneCoin as OneCoin
