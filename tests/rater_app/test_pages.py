"""Pages as text: nothing foreign gets through, every word of the interface is there in every language."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from tests.human.paper_run import HOSTILE
from tests.rater_app.every_page import GOOD, LINK, OTHER, every_page, page, questionnaire

from compressed_lens.errors import StudyError
from compressed_lens.human.design import Shown
from compressed_lens.human.prose import blocks
from compressed_lens.rater_app.changes import changes
from compressed_lens.rater_app.languages import Locale, available, locale
from compressed_lens.rater_app.pages import TEMPLATES, Frame, Pages
from compressed_lens.terminal import visible

LANGUAGES = ("en", "de")
LARGEST = 30_000
EXAMPLES = tuple(example.shown for example in questionnaire().examples)
_VOID = {"meta", "input", "link", "br"}


class Tree(HTMLParser):
    """Every element with its attributes and text; complains of anything left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def hostile(text: str) -> tuple[Shown, Shown]:
    """The same text everywhere that a model or an item puts words on a page."""
    fields = ((text[:80], text), ("hypothesis", text[::-1]))
    return (
        Shown(kind="explanation", instruction=text, fields=fields, label=text[:60], text=text),
        Shown(
            kind="counterfactual", instruction=text, fields=fields, label=text[:60], text=f"{text} +", edited=text[:80]
        ),
    )


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages(questionnaire())


@pytest.fixture(scope="module", params=LANGUAGES)
def everything(request: pytest.FixtureRequest, pages: Pages) -> list[tuple[str, str]]:
    texts = [shown for text in HOSTILE for shown in hostile(text)]
    return list(every_page(pages, request.param, (*EXAMPLES, *texts)))


def rated(pages: Pages, shown: Shown | None, language: str = "en", **more: object) -> str:
    given = {"chosen": {}, "comment": "", "missing": (), "conflict": False, **more}
    frame = Frame(language=language, form="form", answered=4, pages=16)
    expected = {"trustworthiness": 4, "coherence": 2} if shown is None else None
    return pages.rate(frame, page(shown, expected=expected, values=GOOD), **given)  # type: ignore[arg-type]


def test_pages_are_whole_and_hold_nothing_that_runs_or_loads(everything: list[tuple[str, str]]) -> None:
    elements = {
        *("html head meta title style body a header nav main div section article form fieldset legend label".split()),
        *("input b span p h1 h2 h3 h4 ul ol li dl dt dd figure figcaption blockquote ins del strong button".split()),
        *("textarea details summary progress code table thead tbody tr th td footer".split()),
    }
    for name, text in everything:
        tree = Tree(text)
        used = {tag for tag, _ in tree.elements}
        assert used <= elements, name
        for tag, attributes in tree.elements:
            assert not [one for one in attributes if one.startswith("on") or one in {"style", "src", "srcdoc"}], name
            target = attributes.get("href") or attributes.get("action") or ""
            assert target.startswith(("/", "?lang=", "#")) or target in {"", LINK, questionnaire().completion_url}, name
            assert tag != "meta" or set(attributes) <= {"charset", "name", "content"}


def test_pages_are_built_alike(everything: list[tuple[str, str]]) -> None:
    for name, text in everything:
        tree = Tree(text)
        for landmark in ("header", "main", "footer", "h1", "title", "style"):
            assert len(tree.all(landmark)) == 1, (name, landmark)
        levels = [int(tag[1]) for tag, _ in tree.elements if re.fullmatch("h[1-6]", tag)]
        levels = levels[levels.index(1) :]
        assert all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False)), (name, levels)
        ids = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
        assert len(set(ids)) == len(ids), name
        for _, attributes in tree.elements:
            for reference in ("for", "aria-labelledby", "aria-describedby"):
                assert set((attributes.get(reference) or "").split()) <= set(ids), (name, reference)
            if (attributes.get("href") or "").startswith("#"):
                assert str(attributes["href"])[1:] in ids, name


def test_the_completion_code_is_on_the_last_page_alone(everything: list[tuple[str, str]]) -> None:
    code = questionnaire().completion_code
    assert [name for name, text in everything if code in text] == ["done"]


def test_pages_are_small(pages: Pages) -> None:
    for name, text in every_page(pages, "de", EXAMPLES):
        assert len(text.encode()) < LARGEST, name


def test_hostile_text_is_shown_as_it_is(pages: Pages) -> None:
    for text in HOSTILE:
        for shown in hostile(text):
            tree = Tree(rated(pages, shown))
            words = "".join(data for _, data in tree.texts)
            assert visible(shown.instruction) in words
            quotes = "".join(data for tag, data in tree.texts if tag in {"blockquote", "ins", "del"})
            assert visible(shown.text) in quotes
            assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", words)


def test_a_comment_comes_back_to_its_field(pages: Pages) -> None:
    for comment in ("\n\nleading lines", "</textarea><script>1</script>", 'a "quoted" <b>'):
        tree = Tree(rated(pages, EXAMPLES[0], comment=comment))
        assert "".join(data for tag, data in tree.texts if tag == "textarea") == f"\n{comment}"
        kept = Tree(rated(pages, EXAMPLES[0], chosen=OTHER, comment=comment, conflict=True)).all("input")
        assert [one["value"] for one in kept if one["name"] == "comment"] == [comment]


def test_the_policy_allows_the_one_style_sheet_and_nothing_else(pages: Pages) -> None:
    sheet = re.search("<style>(.*?)</style>", pages.consent(Frame(language="en")), re.S)
    assert sheet is not None
    digest = base64.b64encode(hashlib.sha256(sheet[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in pages.policy
    assert pages.policy.startswith("default-src 'none';")
    assert "script" not in pages.policy
    assert "unsafe" not in pages.policy


def test_every_language_has_the_same_keys_and_gaps() -> None:
    first = locale("en").texts
    for language in available():
        texts = locale(language).texts
        assert set(texts) == set(first), language
        for key, text in texts.items():
            forms, own = (_forms(one) for one in (first[key], text))
            assert [set(re.findall(r"{(\w+)}", form)) for form in own] == [
                set(re.findall(r"{(\w+)}", form)) for form in forms
            ], (language, key)
            assert all(form.strip() for form in own), (language, key)


def _forms(text: object) -> list[str]:
    return [text] if isinstance(text, str) else [text["one"], text["other"]]  # type: ignore[index]


def test_every_key_is_used_and_no_other(monkeypatch: pytest.MonkeyPatch, pages: Pages) -> None:
    asked: set[str] = set()
    original = Locale.__call__

    def noted(self: Locale, key: str, /, **gaps: object) -> str:
        asked.add(key)
        return original(self, key, **gaps)

    monkeypatch.setattr(Locale, "__call__", noted)
    bare = questionnaire().model_copy(update={"contact": ""})
    same = EXAMPLES[1].model_copy(update={"text": "A woman is waiting for a bus."})
    empty = EXAMPLES[0].model_copy(update={"text": " "})
    for one in (pages, Pages(bare)):
        assert len(list(every_page(one, "en", (*EXAMPLES, same, empty)))) > 30
    for key in (key for key in locale("en").texts if key.startswith(("alerts.", "steps."))):
        asked.add(key) if key.startswith("steps.") else pages.consent(Frame(language="en", alert=key[len("alerts.") :]))
    rated(pages, EXAMPLES[0], chosen=OTHER, comment="only one has a comment", conflict=True)
    assert set(locale("en").texts) - asked == set()


def test_every_text_of_the_templates_is_in_the_locale() -> None:
    keys = set(locale("en").texts)
    for path in TEMPLATES.glob("*.j2"):
        for key in re.findall(r"""\bt\(["']([\w.-]+)["'][,)]""", path.read_text(encoding="utf-8")):
            assert key in keys, f"{path.name}: {key}"


def test_a_language_is_chosen_with_its_wording(pages: Pages) -> None:
    german = Tree(pages.consent(Frame(language="de", form="f")))
    assert german.all("html")[0]["lang"] == "de"
    assert ("h1", "Bevor Sie beginnen") in german.texts
    assert ("button", "Ich stimme zu und nehme teil") in german.texts
    other = Tree(pages.consent(Frame(language="fr", form="f")))
    assert other.all("html")[0]["lang"] == "en"
    switch = [one for one in german.all("a") if "hreflang" in one]
    assert [(one["href"], one["lang"], one.get("aria-current")) for one in switch] == [
        ("?lang=en", "en", None),
        ("?lang=de", "de", "true"),
    ]


def test_a_regional_form_has_the_interface_of_its_language() -> None:
    assert locale("de-AT")("consent.title") == locale("de")("consent.title")


def test_a_language_without_interface_is_refused() -> None:
    asked = questionnaire().model_copy(update={"languages": ("en", "tlh")})
    with pytest.raises(StudyError, match="no interface in the language 'tlh'"):
        Pages(asked)


def test_plural_forms_and_numbers() -> None:
    assert locale("en")("comprehension.attempts", count=1) == "You have 1 attempt left."
    assert locale("de")("comprehension.attempts", count=2) == "Sie haben noch 2 Versuche."
    assert locale("de").number(-0.5, 2) == "\u22120,50"
    with pytest.raises(KeyError):
        locale("en")("progress.page", position=1)


def test_texts_of_a_study_have_their_own_language(pages: Pages) -> None:
    for shown in EXAMPLES:
        tree = Tree(rated(pages, shown, language="de"))
        for tag in ("blockquote", "dt", "dd"):
            assert {(one.get("lang"), one.get("dir")) for one in tree.all(tag)} == {("en", "auto")}, tag


def test_marked_words_are_told_to_who_cannot_see_them(pages: Pages) -> None:
    text = re.sub(r"<[^>]+>", "", rated(pages, EXAMPLES[1]))
    assert " [removed] waiting for [end of change] " in text
    assert " [added] sit in [end of change] " in text


def test_a_check_names_the_points_to_choose(pages: Pages) -> None:
    text = " ".join(re.sub(r"<[^>]+>", "", rated(pages, None)).split())
    assert "Trustworthiness: 4 (Mostly: right, with small flaws)" in text
    assert "Coherence: 2 (A little: hard to follow)" in text


def test_what_was_chosen_is_chosen(pages: Pages) -> None:
    tree = Tree(rated(pages, EXAMPLES[0], chosen={"trustworthiness": 3}, missing=("coherence",)))
    radios = [one for one in tree.all("input") if one["type"] == "radio"]
    assert [(one["name"], one["value"]) for one in radios] == [
        (f"r-{name}", str(point)) for name in GOOD for point in range(1, 6)
    ]
    assert [(one["name"], one["value"]) for one in radios if "checked" in one] == [("r-trustworthiness", "3")]
    groups = {one["aria-labelledby"]: one for one in tree.all("fieldset")}
    assert "aria-invalid" not in groups["r-trustworthiness-legend"]
    assert groups["r-coherence-legend"]["aria-invalid"] == "true"
    assert groups["r-coherence-legend"]["aria-describedby"] == "r-coherence-error"
    assert [one["href"] for one in tree.all("a") if str(one["href"]).startswith("#")] == ["#main", "#r-coherence-1"]
    assert tree.texts[[tag for tag, _ in tree.texts].index("title")][1].startswith("Error: ")


def test_a_conflict_shows_both_and_sends_the_new_one(pages: Pages) -> None:
    text = rated(pages, EXAMPLES[0], chosen=OTHER, comment="mine", conflict=True)
    tree = Tree(text)
    sent = {one["name"]: one["value"] for one in tree.all("input")}
    assert sent == {"form": "form", "r-trustworthiness": "2", "r-coherence": "5", "comment": "mine"}
    assert {"4", "2", "5"} <= {data for tag, data in tree.texts if tag == "b"}


def test_a_study_without_comments_asks_for_none() -> None:
    quiet = Pages(questionnaire().model_copy(update={"comments": False}))
    assert Tree(rated(quiet, EXAMPLES[0])).all("textarea") == []


def test_a_language_sends_the_form_where_there_is_something_to_lose(pages: Pages) -> None:
    for name, text in every_page(pages, "en", EXAMPLES):
        tree = Tree(text)
        switch = [one for one in tree.all("button") if one.get("name") == "lang"]
        answers = [one for one in tree.all("form") if one.get("id") == "answers"]
        assert len(switch) == 2 * len(answers), name
        assert bool(answers) == (name.startswith(("rate", "conflict", "comprehension", "comments"))), name
        if answers:
            of_form = [one for one in tree.all("button") if one.get("form") == "answers"]
            assert "name" not in of_form[0], "Enter would change the language"


def test_a_study_of_one_language_has_no_switch() -> None:
    single = Pages(questionnaire().model_copy(update={"languages": ("de",)}))
    tree = Tree(single.consent(Frame(language="en", form="f")))
    assert tree.all("nav") == []
    assert tree.all("html")[0]["lang"] == "de"


@pytest.mark.parametrize(
    ("before", "after", "taken", "added"),
    [
        ("A man sleeps.", "A woman sleeps.", ["man"], ["woman"]),
        ("A man sleeps.", "A man sleeps.", [], []),
        ("A man sleeps.", "A man  sleeps .", [], []),
        ("He runs fast now.", "He now.", ["runs fast"], []),
        ("", "All new here", [], ["All new here"]),
        ("All gone", "", ["All gone"], []),
        ("don't go", "do go", ["don't"], ["do"]),
        ("  same  ", "other", ["same"], ["other"]),
    ],
)
def test_changed_words(before: str, after: str, taken: list[str], added: list[str]) -> None:
    pieces = changes(before, after)
    assert tuple("".join(piece.text for piece in one) for one in pieces) == (before, after)
    assert [[piece.text for piece in one if piece.changed] for one in pieces] == [taken, added]


def test_prose_is_paragraphs_lists_headings_and_bold() -> None:
    found = blocks("# Title\n\none **two**\nthree\n\n- a\n- b\n  more\n\n<b>x</b> ** y")
    assert [(block.kind, block.lines) for block in found] == [
        ("heading", ((("Title", False),),)),
        ("paragraph", ((("one ", False), ("two", True), (" three", False)),)),
        ("list", ((("a", False),), (("b more", False),))),
        ("paragraph", ((("<b>x</b> ** y", False),),)),
    ]
