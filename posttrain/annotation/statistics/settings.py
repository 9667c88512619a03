"""What the statistics of a project can be told: how sure an interval is, what counts as few, as fast, as flagged."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from posttrain.settings import Settings


class StatisticsSettings(Settings):
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Of every interval: the share of repetitions of the study in which it should hold the true value."""
    num_resamples: PositiveInt = 1000
    """Of every bootstrap. The ends of an interval move by about 3 % of its width between seeds."""
    seed: NonNegativeInt = 0
    few: int = Field(default=5, ge=2)
    """Below this many items, votes or prompts a number is shown without an interval or a test: there is too little."""
    flag_level: float = Field(default=0.05, gt=0, lt=1)
    """A bias is flagged where its p-value, by Holm's rule over all annotators, is below this."""
    characters_per_second: PositiveFloat = 24.0
    """Silent reading of English: 238 words a minute (Brysbaert 2019), a word and its blank being 6 characters."""
    least_reading: NonNegativeFloat = 0.25
    """An answer is too fast in less than this share of the time that reading the responses takes."""
    least_seconds: NonNegativeFloat = 1.0
    """And in less than this, however short the responses are."""
    should_count_prompt: bool = False
    """Whether reading time holds the prompt: set it where each prompt is met once, so that it has to be read."""
    prior_votes: PositiveFloat = 0.25
    """Added to each outcome (won, tied, lost) of two models that met, so that one which never lost has a rating."""
    elo_step: PositiveFloat = 4.0
    """The K-factor: points at stake in one vote."""
    num_elo_orders: PositiveInt = 200
    """Random orders of the votes that an Elo rating is averaged over."""
    are_images: bool = False
    """Responses are names of image files: their lengths mean nothing."""
