"""A controlled task in the shape of QA-Feedback, whose true reward is known; as a plug-in, a source of records."""

from posttrain.worlds.grounded_qa.source import Config, load

__all__ = ["Config", "load"]
