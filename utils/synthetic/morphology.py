"""Forms of English and Spanish words by rule: plurals, verb forms, agreement of adjectives.

The rules cover the words of data/lexicon/pairs.toml, not the languages. Irregular forms stand in
that file, and `utils.synthetic.lexicon` decides between them and these rules.
"""

import re

# ---------------------------------------------------------------- English


def indefinite_article(word: str) -> str:
    """Return "a" or "an" for the word that follows: "an orange", but "a university"."""
    starts_with_vowel = word[0].lower() in "aeiou"
    if starts_with_vowel and not word.startswith("uni"):
        return "an"
    return "a"


def english_plural(noun: str) -> str:
    """Return the plural of a noun: box, boxes; city, cities; boy, boys."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if _ends_in_consonant_and_y(noun):
        return noun[:-1] + "ies"
    return noun + "s"


def english_past(verb: str) -> str:
    """Return the simple past of a regular verb: close, closed; study, studied; call, called."""
    if verb.endswith("e"):
        return verb + "d"
    if _ends_in_consonant_and_y(verb):
        return verb[:-1] + "ied"
    return verb + "ed"


def english_gerund(verb: str) -> str:
    """Return the form in -ing: write, writing; see, seeing; call, calling."""
    has_silent_e = verb != "be" and re.search("[^e]e$", verb)
    return (verb[:-1] if has_silent_e else verb) + "ing"


def english_third_person(verb: str) -> str:
    """Return the present tense of he and she: go, goes; have, has; study, studies; call, calls."""
    if verb == "have":
        return "has"
    if verb.endswith("o"):
        return verb + "es"
    return english_plural(verb)  # the spelling rules of plurals hold here too


def _ends_in_consonant_and_y(word: str) -> bool:
    return re.search("[^aeiou]y$", word) is not None


# ---------------------------------------------------------------- Spanish nouns and adjectives


def _without_accents(text: str) -> str:
    return text.translate(str.maketrans("áéíóú", "aeiou"))


def spanish_plural(word: str) -> str:
    """Return the plural of a noun or an adjective: casas, ciudades, lápices."""
    if word == "paraguas":
        return word
    if word == "joven":
        return "jóvenes"
    if word[-1] in "aeiouáéó":
        return word + "s"
    # A stress on the last syllable needs no accent any more once a syllable follows: jardín,
    # jardines.
    last_vowel = re.search("[áéíóú](?=[ns]$)", word)
    if last_vowel:
        word = word[:-2] + _without_accents(word[-2:])
    if word.endswith("z"):
        return word[:-1] + "ces"
    return word + "es"


def spanish_adjective(masculine: str) -> list[str]:
    """Return the four forms of an adjective: masculine, feminine, and both in the plural.

    Adjectives in -o have a feminine in -a (rojo, roja). Others have one form for both genders
    (verde), except those of nationality and "hablador" (inglés, inglesa).
    """
    feminine = masculine
    if masculine.endswith("o"):
        feminine = masculine[:-1] + "a"
    elif masculine == "español":
        feminine = "española"
    elif masculine in ("inglés", "francés", "alemán", "hablador"):
        feminine = _without_accents(masculine) + "a"
    return [masculine, feminine, spanish_plural(masculine), spanish_plural(feminine)]


# ---------------------------------------------------------------- Spanish verbs

# Endings for I, you, he or she, we, they, by the vowel of the infinitive: -ar, -er, -ir.
_PRESENT = {
    "a": ["o", "as", "a", "amos", "an"],
    "e": ["o", "es", "e", "emos", "en"],
    "i": ["o", "es", "e", "imos", "en"],
}
_PRETERITE = {
    "a": ["é", "aste", "ó", "amos", "aron"],
    "e": ["í", "iste", "ió", "imos", "ieron"],
    "i": ["í", "iste", "ió", "imos", "ieron"],
}
_IMPERFECT = {
    "a": ["aba", "abas", "aba", "ábamos", "aban"],
    "e": ["ía", "ías", "ía", "íamos", "ían"],
    "i": ["ía", "ías", "ía", "íamos", "ían"],
}
_FUTURE = ["é", "ás", "á", "emos", "án"]  # after the whole infinitive
# After a stem in -a, -e or -o, an i between two vowels becomes y: leyó, oyeron.
_PRETERITE_AFTER_VOWEL = ["í", "íste", "yó", "ímos", "yeron"]
_PRETERITE_IRREGULAR = ["e", "iste", "o", "imos", "ieron"]  # tuve, tuviste, ...


def conjugate(
    infinitive: str,
    change: str = "",
    first: str = "",
    past: str = "",
    future: str = "",
    **irregular: str,
) -> dict[str, list[str] | str]:
    """Return the forms of a Spanish verb.

    Args:
        infinitive: without "se".
        change: what the last such vowel of the stem becomes where it is stressed, "e>ie" for
            cerrar, cierro.
        first: irregular first person of the present: tengo.
        past: irregular stem of the preterite: "tuv" for tuve.
        future: irregular stem of the future: "tendr" for tendré.
        irregular: whole tenses, as five words, and the single forms "gerund", "command" and
            "forbidden".

    Returns:
        "present", "preterite", "imperfect" and "future", each with the forms for I, you, he or
        she, we, they; "gerund" (leyendo), "command" (lee) and "forbidden" (no leas).
    """
    stem = infinitive[:-2]
    vowel = _without_accents(infinitive[-2])  # "oír" is a verb in -ir
    stressed_stem, weak_stem = _changed_stems(stem, vowel, change)
    stem_ends_in_vowel = vowel != "a" and stem.endswith(("a", "e", "o"))  # leer, traer, oír

    # The stress is on the ending in "we" only: cierro, cierras, cierra, cerramos, cierran.
    present = [stressed_stem + ending for ending in _PRESENT[vowel]]
    present[3] = stem + _PRESENT[vowel][3]
    if first:
        present[0] = first

    if past:
        preterite = [past + ending for ending in _PRETERITE_IRREGULAR]
        if past.endswith("j"):
            preterite[4] = past + "eron"  # dijeron, not dijieron
    elif stem_ends_in_vowel:
        preterite = [stem + ending for ending in _PRETERITE_AFTER_VOWEL]
    else:
        preterite = [stem + ending for ending in _PRETERITE[vowel]]
        preterite[2] = weak_stem + _PRETERITE[vowel][2]
        preterite[4] = weak_stem + _PRETERITE[vowel][4]
        if vowel == "a":
            preterite[0] = _before_e(stem) + "é"  # busqué

    if vowel == "a":
        gerund = weak_stem + "ando"
    elif stem_ends_in_vowel:
        gerund = weak_stem + "yendo"
    else:
        gerund = weak_stem + "iendo"

    forms = {
        "present": present,
        "preterite": preterite,
        "imperfect": [stem + ending for ending in _IMPERFECT[vowel]],
        "future": [(future or _without_accents(infinitive)) + ending for ending in _FUTURE],
        "gerund": gerund,
    }
    for name, text in irregular.items():
        forms[name] = text.split() if " " in text else text

    # A command to "you" is the present of "he": lee. What is forbidden swaps a and e in the
    # ending, after the stem of the present of "I": tengo, no tengas; busco, no busques.
    forms.setdefault("command", forms["present"][2])
    subjunctive_stem = forms["present"][0][:-1]
    if vowel == "a":
        forms.setdefault("forbidden", _before_e(subjunctive_stem) + "es")
    else:
        forms.setdefault("forbidden", subjunctive_stem + "as")
    return forms


def _changed_stems(stem: str, vowel: str, change: str) -> tuple[str, str]:
    """Return the stem where it is stressed, and its weak form in front of -ie- and -ió.

    Dormir with "o>ue": "duerm" (duermo) and "durm" (durmió). Only verbs in -ir have a weak form of
    their own.
    """
    if not change:
        return stem, stem
    old, new = change.split(">")
    before, _, after = stem.rpartition(old)
    stressed_stem = before + new + after
    if vowel != "i":
        return stressed_stem, stem
    weak_vowel = {"ie": "i", "ue": "u", "i": "i"}[new]
    return stressed_stem, before + weak_vowel + after


def _before_e(stem: str) -> str:
    """Spell a stem so that it sounds the same before e: busqu-e, pagu-e, almorc-e."""
    spelling = {"c": "qu", "g": "gu", "z": "c"}
    if stem[-1:] in spelling:
        return stem[:-1] + spelling[stem[-1]]
    return stem
