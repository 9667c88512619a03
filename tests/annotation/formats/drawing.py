"""Items and votes drawn at random, with the texts that break file formats."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from posttrain.annotation.records import Item, Missing, PairVote, RankVote, Response, SpanError, SpanVote
from posttrain.data.records import Prompt

QUICK = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

AWKWARD = [
    '"',
    '""',
    "'",
    "a,b;c\td",
    "line\nbreak",
    "line\r\nbreak",
    "\r",
    "\n",
    "\ttab",
    "=1+1",
    "'=1+1",
    "''+",
    "@SUM(A1)",
    "-1",
    "＝1",
    "日本語",
    "🏳️‍🌈",
    "e\u0301",
    "\u2028\u2029\u0085",
    "\ufeffmark",
    "\u202eright to left",
    "a\x1bb",
    "{}",
    "null",
]
anything = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
texts = st.sampled_from(AWKWARD) | anything | st.lists(st.sampled_from(AWKWARD), max_size=3).map("".join)
said = texts.filter(str.strip)
names = st.sampled_from(["ann", "böb", "=cmd()", '"quoted, name"']) | said
choices = st.sampled_from(["first", "second", "tie", "both_bad"])
seconds = st.floats(0, 1e6, allow_nan=False)
times = st.floats(1.0, 4e9, allow_nan=False)
facts = st.dictionaries(texts, st.none() | st.booleans() | st.integers(-9, 9) | texts | st.lists(texts), max_size=2)


@st.composite
def items(draw, id, num=(2, 4), empty=True, models=texts, gold=True, arm=True, prompt_id=True):
    """An item with the id `id`, which its prompt has too."""
    responses = draw(st.lists(texts if empty else said, min_size=num[0], max_size=num[1]))
    if draw(st.booleans()):
        responses[-1] = responses[0]  # repeated texts are responses of their own
    known = {}
    if gold and len(responses) > 1:
        known = draw(st.dictionaries(st.just((0, len(responses) - 1)), choices, max_size=1))
    prompt = Prompt(draw(said), id if prompt_id else "", tuple(draw(st.lists(said, max_size=2))), draw(facts))
    return Item(
        id,
        prompt,
        tuple(Response(text, draw(models)) for text in responses),
        draw(st.sampled_from(["random", "active"])) if arm else "random",
        known,
    )


@st.composite
def pair_votes(draw, item, annotator=names, with_details=True):
    first, second = draw(st.permutations(range(len(item.responses))))[:2]
    details = {}
    if with_details:
        details = {
            "strength": draw(st.none() | st.integers(1, 3)),
            "axes": draw(st.dictionaries(texts, choices, max_size=2)),
            "reason": draw(texts),
            "is_repeat": draw(st.booleans()),
        }
    return PairVote(
        item.id,
        draw(annotator),
        draw(seconds),
        draw(times),
        first,
        second,
        draw(choices),
        draw(st.booleans()),
        **details,
    )


@st.composite
def rank_votes(draw, item, annotator=names):
    num = len(item.responses)
    ranks = draw(st.lists(st.integers(1, num), min_size=num, max_size=num).map(tuple))
    shown = tuple(draw(st.permutations(range(num))))
    return RankVote(item.id, draw(annotator), draw(seconds), draw(times), ranks, shown, is_repeat=draw(st.booleans()))


@st.composite
def span_votes(draw, item, position=None, annotator=names, evidence=True):
    response = draw(st.integers(0, len(item.responses) - 1)) if position is None else position
    length = len(item.responses[response].text)
    errors = []
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, length))
        places = st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 30)), max_size=2).map(tuple)
        shown = draw(places) if evidence else ()
        errors.append(SpanError(start, draw(st.integers(start, length)), draw(said), draw(texts), shown))
    missing = st.builds(Missing, said, st.integers(0, 5), st.integers(-1, 30))
    return SpanVote(
        item.id,
        draw(annotator),
        draw(seconds),
        draw(times),
        response,
        tuple(errors),
        tuple(draw(st.lists(missing, max_size=2))),
        draw(texts),
        is_repeat=draw(st.booleans()),
    )


@st.composite
def projects(draw, vote=None, most=3, **details):
    """Up to `most` items, each with up to three votes that `vote(item)` draws."""
    found = [
        draw(items(f"{name}{i}", **details)) for i, name in enumerate(draw(st.lists(said, min_size=1, max_size=most)))
    ]
    votes = [] if vote is None else [one for item in found for one in draw(st.lists(vote(item), max_size=3))]
    return found, votes
