"""The invented people, places and visits of the two countries; none of them is a real clinic or patient."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Country:
    """The words and the clock of a country."""

    zone: str
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    places: tuple[str, ...]
    clinic_words: tuple[str, ...]
    room_word: str
    visits: tuple[tuple[str, int], ...]
    """Kinds of visit with their length in minutes."""


SWEDEN = Country(
    zone="Europe/Stockholm",
    first_names=(
        *("Åsa", "Björn", "Cecilia", "David", "Elin", "Fredrik", "Gunilla", "Håkan", "Ingrid", "Jörgen"),
        *("Karin", "Lars", "Märta", "Nils", "Olof", "Petra", "Rickard", "Sara", "Tove", "Ulf"),
    ),
    last_names=(
        *("Almgård", "Björkslätt", "Dalvik", "Ekmarker", "Furuhäll", "Granås", "Hedtorp", "Isholm"),
        *("Källstig", "Lindåker", "Myrvall", "Norrby", "Oxhage", "Rönnkvist", "Sjötorp", "Ängsmark"),
    ),
    places=("Åkersberga", "Ängby", "Höjden", "Norrtull", "Sjöstaden", "Strömmen", "Västerort", "Öresund"),
    clinic_words=("Vårdcentral", "Läkargrupp", "Husläkarmottagning", "Hälsocentral"),
    room_word="Rum",
    visits=(
        ("Läkarbesök, nybesök", 30),
        ("Läkarbesök, återbesök", 20),
        ("Sjuksköterskebesök", 20),
        ("Vaccination", 10),
        ("Provtagning", 15),
        ("Videobesök", 20),
        ("Hälsokontroll", 45),
        ("Samtal med kurator", 45),
        ("Fysioterapi, första besök", 60),
        ("Fysioterapi, uppföljning", 30),
        ("Barnmorskebesök", 30),
        ("Hudkontroll", 15),
    ),
)

NORWAY = Country(
    zone="Europe/Oslo",
    first_names=(
        *("Åse", "Bjørn", "Camilla", "Dag", "Eirik", "Frøydis", "Guro", "Håvard", "Ingvild", "Jørn"),
        *("Kjersti", "Leif", "Marit", "Nora", "Øystein", "Pål", "Ragnhild", "Sindre", "Torunn", "Vegard"),
    ),
    last_names=(
        *("Aasgård", "Bjørkli", "Dalsmo", "Eikhaug", "Furusæter", "Granlien", "Heggdal", "Isnes"),
        *("Kvernmo", "Lyngås", "Myrseth", "Nordbø", "Østvang", "Rønningdal", "Sjøvik", "Tårnes"),
    ),
    places=("Åsen", "Bekkelia", "Fjordgata", "Grønnåsen", "Havna", "Nordstranda", "Skansen", "Øvrebyen"),
    clinic_words=("Legesenter", "Helsehus", "Klinikk", "Legekontor"),
    room_word="Rom",
    visits=(
        ("Legetime, ny pasient", 30),
        ("Legetime, kontroll", 20),
        ("Sykepleiertime", 20),
        ("Vaksinasjon", 10),
        ("Blodprøve", 15),
        ("Videokonsultasjon", 20),
        ("Helseattest", 45),
        ("Psykologsamtale", 45),
        ("Fysioterapi, første time", 60),
        ("Fysioterapi, oppfølging", 30),
        ("Svangerskapskontroll", 30),
        ("Føflekksjekk", 15),
    ),
)
