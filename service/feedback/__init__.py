"""Feedback: a sample of requests and answers, kept as Parquet to retrain on and to watch drift.

Off unless `TRIPTYCH_FEEDBACK` names a folder.
"""

from service.feedback.recorder import Feedback, Observation, Row, check_feedback, open_feedback

__all__ = ["Feedback", "Observation", "Row", "check_feedback", "open_feedback"]
