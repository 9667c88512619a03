"""The invented names and values of the world: single words, and few of each, so that a small model soon copies them."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KINDS: tuple[str, ...] = ("album", "film", "novel", "song", "play", "opera", "game", "comic")

TITLES: tuple[str, ...] = _words(
    """
    Bavenna Bifera Dadusk Dalune Dinox Dotide Gimora Guzell Karith Kodusk Leshade Lizell
    Mazell Momora Navenna Parith Requill Setide Skaquill Thilune Trenox Vorith Zerith Zonox
    """
)

YEARS: tuple[str, ...] = _words("1940 1944 1950 1951 1957 1962 1966 1971 1975 1978 1983 1986 1989 1991 1994 1999")

MAKERS: tuple[str, ...] = _words(
    """
    Badle Brakev Dukev Fusten Gosso Krinari Lanari Masten Plakev Rosten Skodle Terado Tuton Vequist Vurado Zadle
    """
)

PLACES: tuple[str, ...] = _words(
    """
    Buburg Diford Dovale Festad Gewick Givale Keholm Kuport Laburg Negard Plamere Siwick Stomere Tagard Triport Vemere
    """
)

PRIZES: tuple[str, ...] = _words("Amber Basalt Cedar Cobalt Copper Coral Ebony Garnet Jade Lantern Onyx Pearl")
