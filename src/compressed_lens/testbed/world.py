"""A small invented world: entities, one-hop facts over twelve relations, and the two-hop chains they compose to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

WORLD_SEED = 20260101
HELD_OUT_CHAINS = 0.15
HELD_OUT_PHRASINGS = 0.2

_ONSETS = "B D F G H J K L M N P R S T V W Br Dr Gr Kl Pr Sk St Tr".split()
_VOWELS = "a e i o u".split()
_MIDDLES = "l m n r s t v d k".split()
_CONTINENTS = ("Norland", "Sudland", "Estland", "Westland", "Midland")
_INSTRUMENTS = tuple("guitar violin piano flute drums trumpet cello harp banjo clarinet organ accordion".split())
_JOBS = tuple(
    "doctor teacher lawyer painter farmer pilot baker carpenter "
    "nurse poet sailor tailor chemist dancer judge miner".split()
)
_FOODS = tuple("bread cheese honey soup fish wine olives cakes sausages dumplings chocolate pies".split())
_PRODUCTS = tuple("shoes cars clocks lamps boats phones chairs toys bicycles cameras carpets knives".split())


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A relation, its phrasings, and the noun phrase that names its object.

    Attributes:
        completions: Statements to be continued with the object; "{}" is the subject.
        questions: Questions whose answer is the object.
        phrase: Noun phrase for "the object of this relation for {}", used to build two-hop prompts.
    """

    name: str
    completions: tuple[str, ...]
    questions: tuple[str, ...]
    phrase: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """`subject` stands in `relation` to `object`."""

    relation: str
    subject: str
    object: str


@dataclass(frozen=True, kw_only=True)
class Chain:
    """first: e1 to the bridge entity; second: the bridge entity to the answer."""

    first: Fact
    second: Fact
    held_out: bool

    @property
    def id(self) -> str:
        """Stable identity: subject and both relations."""
        return f"{self.first.subject}/{self.first.relation}/{self.second.relation}"


RELATIONS: dict[str, Relation] = {
    r.name: r
    for r in (
        Relation(
            name="country_capital",
            completions=("The capital of {} is", "The government of {} sits in", "The capital city of {} is called"),
            questions=("What is the capital of {}?", "Which city is the capital of {}?"),
            phrase="the capital of {}",
        ),
        Relation(
            name="country_language",
            completions=("The language of {} is", "People in {} speak", "The official language of {} is"),
            questions=("What is the language of {}?", "Which language do people speak in {}?"),
            phrase="the language of {}",
        ),
        Relation(
            name="country_currency",
            completions=("The currency of {} is the", "People in {} pay with the", "Prices in {} are given in the"),
            questions=("What is the currency of {}?", "Which money is used in {}?"),
            phrase="the currency of {}",
        ),
        Relation(
            name="country_continent",
            completions=("{} lies on the continent of", "The continent of {} is", "{} is a country in"),
            questions=("On which continent is {}?", "Which continent does {} belong to?"),
            phrase="the continent of {}",
        ),
        Relation(
            name="city_country",
            completions=("The city of {} is in the country of", "{} is a city in", "The country of {} is"),
            questions=("In which country is {}?", "Which country does {} belong to?"),
            phrase="the country of {}",
        ),
        Relation(
            name="city_food",
            completions=("{} is famous for its", "Visitors come to {} for its", "The best food of {} is its"),
            questions=("Which food is {} famous for?", "What do people eat in {}?"),
            phrase="the famous food of {}",
        ),
        Relation(
            name="company_city",
            completions=("The headquarters of {} is in", "{} is based in the city of", "The head office of {} is in"),
            questions=("Where is the headquarters of {}?", "In which city is {} based?"),
            phrase="the home city of {}",
        ),
        Relation(
            name="company_product",
            completions=("The company {} makes", "{} is known for making", "The product of {} is"),
            questions=("What does {} make?", "Which product does {} sell?"),
            phrase="the product of {}",
        ),
        Relation(
            name="person_city",
            completions=("{} was born in the city of", "The birthplace of {} is", "{} comes from"),
            questions=("Where was {} born?", "What is the birthplace of {}?"),
            phrase="the birthplace of {}",
        ),
        Relation(
            name="person_company",
            completions=("{} works for the company", "The employer of {} is", "{} has a job at"),
            questions=("Who is the employer of {}?", "Which company does {} work for?"),
            phrase="the employer of {}",
        ),
        Relation(
            name="person_instrument",
            completions=("{} plays the", "The instrument of {} is the", "In the evening {} practises the"),
            questions=("Which instrument does {} play?", "What does {} play?"),
            phrase="the instrument of {}",
        ),
        Relation(
            name="person_job",
            completions=("By profession {} is a", "The profession of {} is", "{} earns money as a"),
            questions=("What is the profession of {}?", "What is the job of {}?"),
            phrase="the profession of {}",
        ),
    )
}

COMPOSITIONS: tuple[tuple[str, str], ...] = (
    ("person_city", "city_country"),
    ("person_city", "city_food"),
    ("person_company", "company_city"),
    ("person_company", "company_product"),
    ("company_city", "city_country"),
    ("city_country", "country_capital"),
    ("city_country", "country_language"),
    ("city_country", "country_currency"),
)


def _names(rng: Random, count: int, endings: Sequence[str], taken: set[str]) -> list[str]:
    names: list[str] = []
    while len(names) < count:
        name = rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_MIDDLES) + rng.choice(endings)
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


@cache
def facts() -> tuple[Fact, ...]:
    """Return all one-hop facts, in a fixed order."""
    rng = Random(WORLD_SEED)
    taken: set[str] = set()
    countries = _names(rng, 20, ("onia", "avia", "istan", "emar"), taken)
    cities = _names(rng, 60, ("ville", "burg", "mouth", "polis", "ford"), taken)
    companies = _names(rng, 50, ("tec", "corp", "co", "works"), taken)
    surnames = _names(rng, 200, ("son", "er", "ski", "ini", "ez"), taken)
    first_names = _names(rng, 40, ("a", "o", "y"), taken)
    currencies = _names(rng, 20, ("al", "ar", "et"), taken)
    found: list[Fact] = []

    def state(relation: str, subject: str, value: str) -> None:
        found.append(Fact(relation=relation, subject=subject, object=value))

    for i, country in enumerate(countries):
        state("country_capital", country, cities[3 * i])
        state("country_language", country, country.removesuffix("istan")[:4] + "ish")
        state("country_currency", country, currencies[i])
        state("country_continent", country, rng.choice(_CONTINENTS))
    for i, city in enumerate(cities):
        state("city_country", city, countries[i // 3])
        state("city_food", city, rng.choice(_FOODS))
    for company in companies:
        state("company_city", company, rng.choice(cities))
        state("company_product", company, rng.choice(_PRODUCTS))
    for surname in surnames:
        person = f"{rng.choice(first_names)} {surname}"
        state("person_city", person, rng.choice(cities))
        state("person_company", person, rng.choice(companies))
        state("person_instrument", person, rng.choice(_INSTRUMENTS))
        state("person_job", person, rng.choice(_JOBS))
    return tuple(found)


@cache
def chains() -> tuple[Chain, ...]:
    """Return every two-hop chain; a fixed share of each composition is held out of training."""
    rng = Random(WORLD_SEED + 1)
    by_key = {(f.relation, f.subject): f for f in facts()}
    return tuple(
        Chain(first=first, second=by_key[second, first.object], held_out=rng.random() < HELD_OUT_CHAINS)
        for relation, second in COMPOSITIONS
        for first in facts()
        if first.relation == relation
    )


def held_out_phrasing(fact: Fact) -> int | None:
    """Return the index (never 0) of the completion phrasing that training never shows of `fact`, for one in five."""
    rng = Random(f"{WORLD_SEED}/{fact.relation}/{fact.subject}")
    if rng.random() >= HELD_OUT_PHRASINGS:
        return None
    return rng.randrange(1, len(RELATIONS[fact.relation].completions))


def sentence(text: str) -> str:
    """Return `text` with a capital first letter."""
    return text[:1].upper() + text[1:]


def two_hop(template: str, chain: Chain) -> str:
    """Return the second relation's `template` about the noun phrase that describes the bridge entity."""
    return sentence(template.format(RELATIONS[chain.first.relation].phrase.format(chain.first.subject)))


def training_statements() -> Iterator[tuple[str, str, bool]]:
    """Yield (prompt, answer, is a question) for every trained phrasing of every fact and trained chain."""
    for fact in facts():
        relation = RELATIONS[fact.relation]
        skipped = held_out_phrasing(fact)
        for i, template in enumerate(relation.completions):
            if i != skipped:
                yield sentence(template.format(fact.subject)), fact.object, False
        for template in relation.questions:
            yield sentence(template.format(fact.subject)), fact.object, True
    for chain in chains():
        if chain.held_out:
            continue
        relation = RELATIONS[chain.second.relation]
        for template in relation.completions[:2]:
            yield two_hop(template, chain), chain.second.object, False
        yield two_hop(relation.questions[0], chain), chain.second.object, True
