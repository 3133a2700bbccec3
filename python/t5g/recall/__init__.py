"""Effective context, measured: how far into a source a model still finds what it is asked for.

Tasks follow RULER's families. Needles are put into real prose at a depth, and the model is asked for one of them; what
it finds is read from the log-probability of the answer beside those of wrong ones, and from the text that it writes.
"""

from t5g.recall.measure import Settings, measure
from t5g.recall.report import Report

__all__ = ["Report", "Settings", "measure"]
