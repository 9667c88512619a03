"""Short film reviews from a grammar, whose true sentiment is known; as a plug-in, a source of records."""

from posttrain.worlds.reviews.source import Config, load

__all__ = ["Config", "load"]
