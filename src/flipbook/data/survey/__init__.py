"""Files as they really are, looked at in processes that may hang or crash without harm."""

from flipbook.data.survey.facts import Broken, Check, Facts, look
from flipbook.data.survey.pool import close_helpers, look_at_all

__all__ = ["Broken", "Check", "Facts", "close_helpers", "look", "look_at_all"]
