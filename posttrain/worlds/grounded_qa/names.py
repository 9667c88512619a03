"""The invented names and values of the world. Every one is a single word, so that a small model can copy it."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KINDS: tuple[str, ...] = ("album", "film", "novel", "song", "play", "opera", "game", "comic")

TITLES: tuple[str, ...] = _words(
    """
    Bavenna Bifera Bolith Dadusk Dalune Daquill Dinox Dotide Dridusk Dushade Fluvenna Gimora
    Glilune Gomora Guzell Karith Kodusk Krevenna Lequill Leshade Lifera Lizell Mazell Meshade
    Momora Moquill Mudray Navenna Nirith Noshade Parith Pedray Pelune Plaquill Plitide Pulith
    Ramora Requill Ritide Rumora Ruwen Setide Sivenna Skaquill Stowen Sulune Tashade Thenox
    Thilune Thoshade Tinox Trenox Vazell Vorith Vumora Zerith Zeshade Zolune Zonox Zumora
    """
)

YEARS = tuple(str(year) for year in range(1940, 2000))

MAKERS: tuple[str, ...] = _words(
    """
    Badle Bivarr Brakev Brorado Derado Drimik Drokev Droton Drumik Dukev
    Fadle Faquist Fusten Gloquist Gosso Gurado Krinari Kurado Lanari Lilan
    Masten Nenari Plakev Plelan Puvarr Raquist Rosten Skevarr Skodle Stenari
    Subeck Taquist Terado Trirado Tuton Vequist Vevarr Vurado Zadle Zokev
    """
)

PLACES: tuple[str, ...] = _words(
    """
    Bruminster Buburg Diford Dovale Drewick Drustad Festad Flawick Gewick Givale
    Gliport Gluholm Guvale Kamere Keholm Kreford Kuport Laburg Leminster Loport
    Negard Paholm Plamere Plewick Puminster Rominster Rostad Segard Siwick Skagard
    Stemere Stomere Tagard Testad Thaburg Toport Triport Vemere Vuport Zuvale
    """
)

PRIZES: tuple[str, ...] = _words(
    """
    Amber Basalt Cedar Cobalt Copper Coral Crystal Ebony Garnet Granite
    Heron Indigo Ivory Jade Lantern Marble Onyx Pearl Saffron Willow
    """
)
