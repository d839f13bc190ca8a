import hashlib
import re
import tomllib
import zlib
from collections import Counter

import pytest

from utils import settings
from utils.errors import CompanionError
from utils.synthetic import morphology
from utils.synthetic.lexicon import _parse_verb, load_lexicon
from utils.synthetic.sentence_pairs import generate_pairs, part_of, tokenize

COUNTS = {"train": 20_000, "validation": 1_000, "test": 1_000}
NAMES = (
    "Maria|Ana|Elena|Lucia|Isabel|Carmen|Sofia|Marta|Laura|Juan|Pedro|"
    "Carlos|Luis|Andres|Pablo|Miguel"
)


@pytest.fixture(scope="module")
def parts():
    return {part: generate_pairs(part, count) for part, count in COUNTS.items()}


@pytest.fixture(scope="module")
def all_pairs(parts):
    return [pair for part in parts.values() for pair in part]


def links(pair):
    """Format an alignment as words: "the=la house=casa"."""
    english, spanish = tokenize(pair.english), tokenize(pair.spanish)
    return " ".join(f"{english[i]}={spanish[j]}" for i, j in pair.alignment)


# ---------------------------------------------------------------- parts, order, lengths


def test_pairs_are_distinct_within_and_across_parts(all_pairs):
    assert (
        len({pair.english.lower() for pair in all_pairs}) == len(all_pairs) == sum(COUNTS.values())
    )


def test_part_follows_from_the_english_words(parts):
    for part, pairs in parts.items():
        for pair in pairs:
            words = " ".join(re.findall(r"\w+", pair.english.lower())).encode()
            assert {0: "validation", 1: "test"}.get(zlib.crc32(words) % 10, "train") == part
            assert part_of(pair.english) == part_of(pair.english.upper()) == part


def test_fewer_pairs_are_the_beginning_of_more(parts):
    for part, pairs in parts.items():
        assert generate_pairs(part, 300) == pairs[:300]


def test_pairs_are_the_same_on_every_machine():
    pairs = [tuple(pair) for pair in generate_pairs("train", 500)]
    digest = hashlib.sha256(repr(pairs).encode()).hexdigest()
    assert digest == "e3f2204fc92ef6212bbca400485e45a07e66f0f11b71354d5da1c96666db25e9"


def test_one_english_sentence_has_one_translation(all_pairs):
    translations = {}
    for pair in all_pairs:
        # Two commands may differ in punctuation alone: "Open the door." and "Open the door!"
        english = tuple(tokenize(pair.english)[:-1])
        spanish = [word for word in tokenize(pair.spanish)[:-1] if word not in "¿¡"]
        assert translations.setdefault(english, spanish) == spanish, pair.english


def test_unknown_part_and_too_many_pairs_raise():
    with pytest.raises(ValueError, match="not known"):
        generate_pairs("dev", 1)
    for part in COUNTS:
        with pytest.raises(CompanionError, match=part):
            generate_pairs(part, 10**9)
    assert generate_pairs("test", 0) == []


def test_lengths_vary_within_bounds(all_pairs):
    english_lengths = [len(tokenize(pair.english)) for pair in all_pairs]
    spanish_lengths = [len(tokenize(pair.spanish)) for pair in all_pairs]
    assert min(english_lengths) >= 3 and max(english_lengths) <= 19
    assert max(spanish_lengths) <= 25

    def share(shortest, longest):
        return sum(shortest <= n <= longest for n in english_lengths) / len(english_lengths)

    assert 0.10 < share(3, 5) < 0.25
    assert 0.50 < share(6, 10) < 0.75
    assert 0.05 < share(14, 19) < 0.15


def test_vocabulary_sizes(all_pairs):
    english = {word for pair in all_pairs for word in tokenize(pair.english)}
    spanish = {word for pair in all_pairs for word in tokenize(pair.spanish)}
    assert 600 < len(english) < 1_000
    assert 1_200 < len(spanish) < 1_500


def test_tokenize_keeps_apostrophes_and_separates_punctuation():
    assert tokenize("¿Es el perro de María?") == ["¿", "es", "el", "perro", "de", "maría", "?"]
    assert tokenize("Maria's dog, isn't it!") == ["maria's", "dog", ",", "isn't", "it", "!"]


# ---------------------------------------------------------------- alignment

# Sentences, translations and alignments made by hand.
BY_HAND = [
    (
        "Elena's mother is ordering coffee.",
        "La madre de Elena está pidiendo café.",
        "elena's=de elena's=elena mother=madre is=está ordering=pidiendo coffee=café .=.",
    ),
    (
        "I will drink this cold water next Saturday.",
        "Beberé esta agua fría el sábado que viene.",
        "i=beberé will=beberé drink=beberé this=esta cold=fría water=agua next=que next=viene "
        "saturday=sábado .=.",
    ),
    (
        "Is the coffee very cold?",
        "¿Está muy frío el café?",
        "is=está the=el coffee=café very=muy cold=frío ?=?",
    ),
    (
        "Is he cold?",
        "¿Tiene él frío?",
        "is=tiene he=él cold=frío ?=?",
    ),
    (
        "My best friend gave these blue dresses to us.",
        "Mi mejor amigo nos dio estos vestidos azules.",
        "my=mi best=mejor friend=amigo gave=dio these=estos blue=azules dresses=vestidos to=nos "
        "us=nos .=.",
    ),
    (
        "There were two dogs in the kitchen.",
        "Había dos perros en la cocina.",
        "there=había were=había two=dos dogs=perros in=en the=la kitchen=cocina .=.",
    ),
    (
        "I know how to cook.",
        "Sé cocinar.",
        "i=sé know=sé how=sé to=sé cook=cocinar .=.",
    ),
    (
        "The flat is on the bank of the lake.",
        "El piso está en la orilla del lago.",
        "the=el flat=piso is=está on=en the=la bank=orilla of=del the=del lake=lago .=.",
    ),
    (
        "Don't open the red window, please.",
        "No abras la ventana roja, por favor.",
        "don't=no open=abras the=la red=roja window=ventana ,=, please=por please=favor .=.",
    ),
    (
        "How sad Andres is!",
        "¡Qué triste está Andrés!",
        "how=qué sad=triste andres=andrés is=está !=!",
    ),
    (
        "You ordered tea because you were thirsty.",
        "Pediste té porque tenías sed.",
        "you=pediste ordered=pediste tea=té because=porque you=tenías were=tenías thirsty=sed .=.",
    ),
    (
        "The writers are more intelligent than the man.",
        "Las escritoras son más inteligentes que el hombre.",
        "the=las writers=escritoras are=son more=más intelligent=inteligentes than=que the=el "
        "man=hombre .=.",
    ),
    (
        "Who did she call?",
        "¿A quién llamó ella?",
        "who=quién she=ella call=llamó ?=?",
    ),
    (
        "What time did the bus arrive?",
        "¿A qué hora llegó el autobús?",
        "what=qué time=hora the=el bus=autobús arrive=llegó ?=?",
    ),
    (
        "Does Juan like water?",
        "¿Le gusta el agua a Juan?",
        "juan=juan like=gusta water=agua ?=?",
    ),
    (
        "The book that our mother read was short.",
        "El libro que nuestra madre leyó era corto.",
        "the=el book=libro that=que our=nuestra mother=madre read=leyó was=era short=corto .=.",
    ),
]


@pytest.mark.parametrize(("english", "spanish", "expected"), BY_HAND)
def test_sentences_are_translated_and_linked_as_by_hand(all_pairs, english, spanish, expected):
    (pair,) = (pair for pair in all_pairs if pair.english == english)
    assert pair.spanish == spanish and links(pair) == expected


def test_alignment_holds_sorted_positions(all_pairs):
    for pair in all_pairs:
        english, spanish = tokenize(pair.english), tokenize(pair.spanish)
        assert list(pair.alignment) == sorted(set(pair.alignment))
        assert all(0 <= i < len(english) and 0 <= j < len(spanish) for i, j in pair.alignment)
        # The final punctuation is linked, to itself alone.
        end = english[-1]
        assert spanish[-1] == end
        end_links = [(i, j) for i, j in pair.alignment if end in (english[i], spanish[j])]
        assert end_links == [(len(english) - 1, len(spanish) - 1)]


def test_only_words_without_counterpart_lack_links(all_pairs):
    unlinked_english = set()
    unlinked_spanish = set()
    for pair in all_pairs:
        linked_english = {i for i, _ in pair.alignment}
        linked_spanish = {j for _, j in pair.alignment}
        for i, word in enumerate(tokenize(pair.english)):
            if i not in linked_english:
                unlinked_english.add(word)
        for j, word in enumerate(tokenize(pair.spanish)):
            if j not in linked_spanish:
                unlinked_spanish.add(word)
    assert unlinked_english == {"do", "does", "did", ",", "a", "an"}
    assert unlinked_spanish == {*"¿¡,a", "le", "les", "el", "la", "los", "las", "al", "de"}


MEANINGS = {
    "house": "casa", "houses": "casas", "milk": "leche", "river": "río", "knives": "cuchillos",
    "women": "mujeres", "green": "verde verdes", "tired": "cansado cansada cansados cansadas",
    "not": "no", "doesn't": "no", "ate": "comí comiste comió comimos comieron",
    "gave": "di diste dio dimos dieron", "because": "porque", "under": "debajo de",
    "always": "siempre", "yesterday": "ayer", "tomorrow": "mañana", "maria": "maría",
    "sofia": "sofía", "him": "lo le", "us": "nos", "who": "quién que", "three": "tres",
    "and": "y e", "bank": "banco orilla", "time": "hora tiempo",
    "short": "corto corta cortos cortas bajo baja bajos bajas", "saw": "vi viste vio vimos vieron",
    "reads": "lee",
}  # fmt: skip


def test_words_are_linked_to_what_they_mean(all_pairs):
    linked_words = set()
    for pair in all_pairs:
        english = tokenize(pair.english)
        spanish = tokenize(pair.spanish)
        for i, j in pair.alignment:
            if english[i] in MEANINGS:
                linked_words.add((english[i], spanish[j]))
                assert spanish[j] in MEANINGS[english[i]].split(), pair
    assert {word for word, _ in linked_words} == set(MEANINGS)
    # English words with more than one translation have each of them.
    assert {("bank", "banco"), ("bank", "orilla")} <= linked_words
    assert {("short", "corto"), ("short", "bajo")} <= linked_words
    assert {("time", "hora"), ("time", "tiempo")} <= linked_words
    assert {("and", "e"), ("who", "que")} <= linked_words


# ---------------------------------------------------------------- Spanish, without the lexicon

FEMININE = {
    "mujer", "madre", "actriz", "carne", "leche", "llave", "torre", "flor", "ciudad", "universidad",
    "estación", "moto",
}  # fmt: skip
MASCULINE = {
    "hombre", "padre", "jefe", "rey", "actor", "tomate", "café", "té", "pan", "arroz", "jamón",
    "melocotón", "melón", "cine", "coche", "parque", "puente", "restaurante", "salón", "jardín",
    "hotel", "hospital", "camión", "autobús", "avión", "tren", "árbol", "cajón", "sofá", "estante",
    "juguete", "lápiz", "reloj", "paraguas", "mapa", "poema", "turista", "mar", "comedor",
}  # fmt: skip
FORMS = {
    "el": "ms", "la": "fs", "los": "mp", "las": "fp", "un": "ms", "una": "fs", "este": "ms",
    "esta": "fs", "estos": "mp", "estas": "fp", "ese": "ms", "esa": "fs", "esos": "mp",
    "esas": "fp", "nuestro": "ms", "nuestra": "fs", "nuestros": "mp", "nuestras": "fp",
    "otro": "ms", "otra": "fs", "muchos": "mp", "muchas": "fp", "varios": "mp", "varias": "fp",
    "pocos": "mp", "pocas": "fp", "del": "ms", "al": "ms", "mi": "s", "mis": "p", "tu": "s",
    "tus": "p", "su": "s", "sus": "p", "dos": "p", "tres": "p", "cuatro": "p", "cinco": "p",
    "diez": "p", "buen": "ms", "mal": "ms", "primer": "ms", "gran": "s", "cuántos": "mp",
    "cuántas": "fp",
}  # fmt: skip
# Adjectives with four forms, and with two.
VARYING = [
    "rojo", "blanco", "negro", "amarillo", "viejo", "nuevo", "bonito", "feo", "moderno", "caro",
    "barato", "pesado", "tranquilo", "ruidoso", "aburrido", "largo", "corto", "fresco", "delicioso",
    "maduro", "frío", "sucio", "limpio", "roto", "abierto", "cerrado", "rápido", "alto", "bajo",
    "rico", "generoso", "tímido", "perezoso", "italiano", "cansado", "contento", "enfermo",
    "ocupado", "nervioso", "preocupado", "enfadado", "pequeño", "divertido", "lento", "bueno",
    "malo", "primero", "último", "mismo",
]  # fmt: skip
CONSTANT = [
    "grande", "verde", "azul", "gris", "marrón", "elegante", "interesante", "difícil", "caliente",
    "amable", "inteligente", "fuerte", "valiente", "paciente", "joven", "mayor", "triste", "mejor",
]  # fmt: skip


def plural(word):
    irregular = {
        "joven": "jóvenes",
        "marrón": "marrones",
        "paraguas": "paraguas",
        "lápiz": "lápices",
    }
    if word in irregular:
        return irregular[word]
    if word[-1] in "aeiouáéó":
        return word + "s"
    for accented, plain in ("ón", "on"), ("ín", "in"), ("és", "es"), ("ús", "us"), ("án", "an"):
        word = re.sub(f"{accented}$", plain, word)
    return word + "es"


@pytest.fixture(scope="module")
def adjectives():
    """Gender and number of each adjective's forms, by the endings that a grammar book gives."""
    forms = {}
    for word in VARYING:
        forms |= {word: "ms", word[:-1] + "a": "fs", word + "s": "mp", word[:-1] + "as": "fp"}
    forms |= {"español": "ms", "española": "fs", "españoles": "mp", "españolas": "fp"}
    for word in ("inglés", "francés", "alemán", "hablador"):
        stem = word.translate(str.maketrans("éá", "ea"))
        forms |= {word: "ms", stem + "a": "fs", stem + "es": "mp", stem + "as": "fp"}
    return forms | {
        form: kind for word in CONSTANT for form, kind in ((word, "s"), (plural(word), "p"))
    }


@pytest.fixture(scope="module")
def nouns():
    """Gender and number of nouns: by their endings, but for the lists above."""
    singular = {}
    plurals = {}
    for noun in spanish_nouns():
        if noun in FEMININE:
            gender = "f"
        elif noun in MASCULINE:
            gender = "m"
        elif re.search("(a|ción|dad)$", noun):
            gender = "f"
        else:
            assert noun.endswith("o"), f"add {noun} to FEMININE or MASCULINE"
            gender = "m"
        singular[noun] = gender + "s"
        plurals[plural(noun)] = gender + "p"
    return plurals | singular


def spanish_nouns():
    """Yield the nouns of the lexicon, of "zumo_de_naranja" the first word."""
    text = (settings.ROOT / "data/lexicon/pairs.toml").read_text(encoding="utf-8")
    for group in tomllib.loads(text)["nouns"].values():
        for entry in group.values():
            yield entry.split()[0].partition("_")[0]


def agree(first, second):
    """Return whether two forms such as "ms" and "s" have no contradiction in gender or number."""
    both = {*first, *second}
    return not {"m", "f"} <= both and not {"s", "p"} <= both


def test_articles_nouns_and_adjectives_agree(all_pairs, nouns, adjectives):
    checked = Counter()
    for pair in all_pairs:
        words = tokenize(pair.spanish.replace("umo de naranja", "umo"))
        for position, word in enumerate(words):
            if word not in nouns:
                continue
            # "Vino" is a form of venir too.
            if word == "vino" and words[position - 1] not in ("el", "mi", "este", "del"):
                continue
            noun_form = "m" if word == "paraguas" else nouns[word]  # one form for both numbers
            first = position - 1
            while first >= 0 and words[first] in adjectives:
                first -= 1
            has_determiner = words[first] in FORMS
            before = words[first if has_determiner else first + 1 : position]
            if word == "agua" and before in (["el"], ["un"], ["del"], ["al"]):
                checked["agua"] += 1
                before = []
            next_position = position + 1
            if first == 0 and re.fullmatch(
                "es|son|era|eran|está|están|estaba|estaban", words[next_position]
            ):
                next_position += 2 if words[next_position + 1] == "muy" else 1
            after = []
            # "Limpia" may be a verb.
            while words[next_position] in adjectives and words[next_position] != "limpia":
                after.append(words[next_position])
                next_position += 1
            for other in before + after:
                assert agree((FORMS | adjectives)[other], noun_form), (word, pair)
            checked["before"] += len(before)
            checked["after"] += len(after)
    assert checked["before"] > 20_000 and checked["after"] > 8_000 and checked["agua"] > 20


VERBS = {
    "ser": "present soy eres es somos son; imperfect era eras era éramos eran; "
    "future seré serás será seremos serán",
    "estar": "present estoy estás está estamos están; "
    "imperfect estaba estabas estaba estábamos estaban",
    "ir": "present voy vas va vamos van; preterite fui fuiste fue fuimos fueron; "
    "future iré irás irá iremos irán",
    "ver": "present veo ves ve vemos ven; preterite vi viste vio vimos vieron",
    "dar": "present doy das da damos dan; preterite di diste dio dimos dieron",
    "tener": "present tengo tienes tiene tenemos tienen; "
    "preterite tuve tuviste tuvo tuvimos tuvieron; "
    "future tendré tendrás tendrá tendremos tendrán; "
    "imperfect tenía tenías tenía teníamos tenían",
    "hacer": "present hago haces hace hacemos hacen; preterite hice hiciste hizo hicimos hicieron; "
    "future haré harás hará haremos harán",
    "decir": "present digo dices dice decimos dicen; preterite dije dijiste dijo dijimos dijeron; "
    "future diré dirás dirá diremos dirán",
    "venir": "present vengo vienes viene venimos vienen; "
    "preterite vine viniste vino vinimos vinieron; "
    "future vendré vendrás vendrá vendremos vendrán",
    "poner": "present pongo pones pone ponemos ponen; "
    "preterite puse pusiste puso pusimos pusieron; "
    "future pondré pondrás pondrá pondremos pondrán",
    "salir": "present salgo sales sale salimos salen; "
    "preterite salí saliste salió salimos salieron; "
    "future saldré saldrás saldrá saldremos saldrán",
    "traer": "present traigo traes trae traemos traen; "
    "preterite traje trajiste trajo trajimos trajeron",
    "oír": "present oigo oyes oye oímos oyen; preterite oí oíste oyó oímos oyeron; "
    "future oiré oirás oirá oiremos oirán",
    "leer": "present leo lees lee leemos leen; preterite leí leíste leyó leímos leyeron",
    "saber": "present sé sabes sabe sabemos saben; future sabré sabrás sabrá sabremos sabrán",
    "conocer": "present conozco conoces conoce conocemos conocen",
    "poder": "present puedo puedes puede podemos pueden; "
    "imperfect podía podías podía podíamos podían",
    "querer": "present quiero quieres quiere queremos quieren; "
    "imperfect quería querías quería queríamos querían",
    "pedir": "present pido pides pide pedimos piden; preterite pedí pediste pidió pedimos pidieron",
    "dormir": "present duermo duermes duerme dormimos duermen; "
    "preterite dormí dormiste durmió dormimos durmieron",
    "jugar": "present juego juegas juega jugamos juegan; "
    "preterite jugué jugaste jugó jugamos jugaron",
    "almorzar": "present almuerzo almuerzas almuerza almorzamos almuerzan; "
    "preterite almorcé almorzaste almorzó almorzamos almorzaron",
    "buscar": "present busco buscas busca buscamos buscan; "
    "preterite busqué buscaste buscó buscamos buscaron",
    "perder": "present pierdo pierdes pierde perdemos pierden; "
    "preterite perdí perdiste perdió perdimos perdieron",
    "escribir": "present escribo escribes escribe escribimos escriben; "
    "preterite escribí escribiste escribió escribimos escribieron",
    "lavar": "present lavo lavas lava lavamos lavan; preterite lavé lavaste lavó lavamos lavaron; "
    "future lavaré lavarás lavará lavaremos lavarán; "
    "imperfect lavaba lavabas lavaba lavábamos lavaban",
}
SINGLE_FORMS = {
    "gerund": "durmiendo dormir, pidiendo pedir, leyendo leer, diciendo decir, yendo ir, "
    "lavando lavar, oyendo oír, trayendo traer, vendiendo vender, sentando sentar",
    "command": "haz hacer, pon poner, di decir, ven venir, ve ir, cierra cerrar, lava lavar, "
    "lee leer, sal salir",
    "forbidden": "hagas hacer, pongas poner, digas decir, vengas venir, vayas ir, cierres cerrar, "
    "busques buscar, pagues pagar, traigas traer, leas leer, juegues jugar, almuerces almorzar, "
    "laves lavar, abras abrir",
}


def conjugate(verb):
    return load_lexicon().conjugate(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_have_the_forms_of_a_grammar_book(verb):
    for row in VERBS[verb].split("; "):
        tense, *forms = row.split()
        assert conjugate(verb)[tense] == forms


@pytest.mark.parametrize("form", SINGLE_FORMS)
def test_verbs_have_the_single_forms_of_a_grammar_book(form):
    for row in SINGLE_FORMS[form].split(", "):
        expected, verb = row.split()
        assert conjugate(verb)[form] == expected


ENDINGS = {"we": r"(mos|nos)$", "they": r"(n|les|hay|había)$", "you": r"(s|ste|te|está|tú|ve)$"}


def test_verbs_carry_the_person_that_spanish_leaves_out(all_pairs):
    checked = Counter()
    for pair in all_pairs:
        english, spanish = tokenize(pair.english), tokenize(pair.spanish)
        # "You" as an object comes late; as a subject it has a verb behind it.
        if english[0] in ENDINGS:
            (verb,) = [spanish[j] for i, j in pair.alignment if i == 0]
            checked[english[0]] += 1
            assert re.search(ENDINGS[english[0]], verb), pair
    assert min(checked.values()) > 400


def test_people_as_objects_have_a_in_front(all_pairs):
    checked = Counter()
    verbs = "visited|helped|called|saw|heard|helps|calls|knows|help|see|call|hear|visit|visits"
    owner = "my|your|his|her|our|their"
    kin = (
        "brother|sister|friend|cousin|son|daughter|uncle|aunt|mother|father|"
        "grandmother|grandfather|boss"
    )
    person = re.compile(
        rf"\b(?:{verbs}) (?:({NAMES})\b(?!')|({owner}) (?:best )?(?:{kin})s?\b(?!'))"
    )
    for pair in all_pairs:
        match = person.search(pair.english)
        if match:
            # The first word of the object: a name or a possessive.
            start = match.start(match.lastindex)
            english_position = len(tokenize(pair.english[:start]))
            (spanish_position,) = [j for i, j in pair.alignment if i == english_position]
            checked["name" if match[1] else "relative"] += 1
            assert tokenize(pair.spanish)[spanish_position - 1] == "a", pair
    assert checked["name"] > 50 and checked["relative"] > 50


def test_adjectives_do_not_show_a_gender_that_english_leaves_open(all_pairs, adjectives):
    am = r"(?:am|are|was|were)(?:n't| not)? (?:very )?\w+\.$"
    open_gender = re.compile(rf"^(?:I|We|You|They) (?:{am}|.* because (?:I|we|you|they) {am})")
    last_words = {
        tokenize(pair.spanish)[-2] for pair in all_pairs if open_gender.search(pair.english)
    }
    assert {"triste", "sueño", "frío"} <= last_words
    # "Tengo frío" has a noun.
    forms = {adjectives.get(word, "") for word in last_words - {"frío"}}
    assert forms == {"", "s", "p"}


def test_ser_and_estar(all_pairs):
    ser = r"\b(?:soy|eres|es|somos|son|era|eras|éramos|eran) (?:muy )?"
    estar = r"\b(?:estoy|estás|está|están|estaba|estaban) (?:muy )?"
    states = (
        r"(?:cansad|enferm(?!er)|content|ocupad|nervios|preocupad|enfadad|"
        r"triste|suci|limpi|rot|abiert)"
    )
    traits = (
        r"(?:alt[oa]|baj[oa]|inteligente|joven|mayor|amable|generos|car[oa]s?\b|"
        r"barat|español|inglés)"
    )
    places = r"(?:en|cerca|detrás|debajo|delante|sobre) "
    text = " ".join(pair.spanish.lower() for pair in all_pairs)
    assert not re.search(ser + states, text) and not re.search(ser + places, text)
    assert not re.search(estar + traits, text)
    assert not re.search(rf"qué {states}\w* (?:es|son)\b|qué {traits}\w* (?:está|están)\b", text)
    for correct in (estar + states, ser + traits, estar + places):
        assert len(re.findall(correct, text)) > 300


def test_english_verbs_agree(all_pairs):
    checked = Counter()
    third = {"goes": "go", "has": "have", "watches": "watch", "studies": "study"}
    third |= {
        f"{verb}s": verb
        for verb in ("eat", "drink", "play", "listen", "work", "visit", "like", "want")
    }
    for pair in all_pairs:
        match = re.match(rf"(He|She|I|You|We|They|{NAMES}) (?:often |never )?(\w+)", pair.english)
        if match:
            subject, verb = match.groups()
            if verb in third or verb in third.values():
                checked[subject] += 1
                is_third_person = subject not in ("I", "You", "We", "They")
                assert (verb in third) == is_third_person, pair.english
    for subject in ("He", "She", "I", "You", "We", "They", "Maria"):
        assert checked[subject] > 30


def test_tense_and_time_agree(all_pairs):
    past = r"\b(?:yesterday|ago|last (?:week|monday|friday))\b"
    future = r"\b(?:tomorrow|next|soon)\b"
    future_verb = r"\b(?:will|won't|going to)\b"
    checked = Counter()
    for pair in all_pairs:
        english = pair.english.lower()
        if re.search(past, english):
            checked["past"] += 1
            assert not re.search(rf"{future_verb}|\b(?:every|tomorrow)\b", english), english
        if re.search(future, english):
            checked["future"] += 1
            assert re.search(future_verb, english), english
    assert checked["past"] > 500 and checked["future"] > 500


def test_spelling_where_words_and_punctuation_meet(all_pairs):
    anywhere = r"  | [.,?!]|[_~+{}\d]"
    wrong_spanish = re.compile(
        rf"{anywhere}|\b(?:a|de) el\b|\by h?[ií](?!e)|\be [^iIhí]|\bno nunca\b|\b(?:la|una) agua\b",
        re.IGNORECASE,
    )
    wrong_english = re.compile(
        rf"{anywhere}|\ba (?!uni)[aeiou]|\ban [^aeiou]|\b(?:[Hh]e|[Ss]he) "
        rf"(?:are|were)\b|\bi\b|n't not"
    )
    for pair in all_pairs:
        assert not wrong_spanish.search(pair.spanish), pair
        assert not wrong_english.search(pair.english), pair
        assert pair.english[0].isupper() and pair.spanish.lstrip("¿¡")[0].isupper()
        end = pair.english[-1]
        assert end in ".?!" and pair.spanish[-1] == end
        opening = {"?": "¿", "!": "¡", ".": ""}[end]
        assert pair.spanish.startswith(opening)
        for character in "¿?¡!":
            assert pair.spanish.count(character) == (character in opening + end), pair


def test_every_construction_is_in_use(all_pairs):
    expected = [
        "because", "but", "while", "when", "who", "never", "How much", "How many", "Which", "Why",
        "as tall as", "taller than", "says that", "knows how to", "is going to", "mustn't",
        "cannot", "doesn't have to", "Please",
    ], [
        "buen ", "gran ", "mal ", "primer ", "el agua", "esta agua", " al ", " del ",
        "A ella le gust", "¿Te gust", "A quién", "conoce a", "sabe ", "juega al fútbol",
        "toca el piano", "se levant", "está leyendo", "Hay ", "Había ",
    ]  # fmt: skip
    for side, constructions in enumerate(expected):
        text = " ".join(pair[side] for pair in all_pairs)
        assert [words for words in constructions if words not in text] == []


# ---------------------------------------------------------------- English forms by rule


@pytest.mark.parametrize(
    ("rule", "forms"),
    [
        (morphology.english_plural, "book books, box boxes, torch torches, city cities, key keys"),
        (morphology.english_past, "call called, close closed, study studied, play played"),
        (morphology.english_gerund, "call calling, write writing, see seeing, study studying"),
        (morphology.english_third_person, "call calls, go goes, watch watches, have has"),
    ],
)
def test_english_words_have_the_forms_of_a_grammar_book(rule, forms):
    for row in forms.split(", "):
        word, expected = row.split()
        assert rule(word) == expected


# ---------------------------------------------------------------- mistakes in the lexicon


@pytest.mark.parametrize(
    "entry",
    [
        "buy {ware} = comprar",
        "go to {place} = ir {place}",
        "be hungry now = tener hambre",
        "go home = ir {place}",
    ],
)
def test_sides_that_do_not_match_raise(entry):
    with pytest.raises(ValueError, match="do not match"):
        _parse_verb(entry)


@pytest.mark.parametrize(("old", "new"), [("{ware}", "{wares}"), ("{the water}", "{teh water}")])
def test_unknown_slots_raise(tmp_path, monkeypatch, old, new):
    text = (settings.ROOT / "data/lexicon/pairs.toml").read_text(encoding="utf-8")
    (tmp_path / "data/lexicon").mkdir(parents=True)
    (tmp_path / "data/lexicon/pairs.toml").write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=new[1:-1]):
        load_lexicon.__wrapped__()
