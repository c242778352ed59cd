"""One page about a crowd and its fit, for people who did not fit it."""

from gtx_bayes.diagnostics.report.page import diagnose as diagnose
from gtx_bayes.diagnostics.report.page import write_report as write_report
