"""Text to try a tokenizer on: sentences in many scripts, code, the machine's own translations, and seeded mixtures."""

from __future__ import annotations

import gettext
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SENTENCES = (
    "The river rises in the hills, and by noon the whole valley is under water.",
    "Der Fluss entspringt in den Hügeln, und gegen Mittag steht das ganze Tal unter Wasser.",
    "La rivière naît dans les collines ; à midi, toute la vallée est déjà sous l’eau.",
    "El río nace en las colinas, ¿y al mediodía? ¡Todo el valle está bajo el agua!",
    "Il fiume nasce tra le colline e a mezzogiorno tutta la valle è già sott'acqua.",
    "O rio nasce nas colinas e ao meio-dia todo o vale está debaixo de água; não é bom.",
    "De rivier ontspringt in de heuvels en tegen de middag staat het hele dal onder water.",
    "Floden börjar i bergen, och vid middag står hela dalen under vatten på sjön.",
    "Floden udspringer i bakkerne, og ved middagstid står hele dalen under vand.",
    "Joki alkaa kukkuloilta, ja keskipäivällä koko laakso on veden alla.",
    "Áin á upptök sín í hæðunum og um hádegi er allur dalurinn undir vatni.",
    "Rzeka wypływa ze wzgórz, a w południe cała dolina jest już pod wodą. Źdźbło, łąka, święto.",
    "Řeka pramení v kopcích a v poledne je celé údolí pod vodou. Příliš žluťoučký kůň.",
    "A folyó a dombok között ered, és délre az egész völgy víz alatt áll. Árvíztűrő tükörfúrógép.",
    "Râul izvorăște din dealuri, iar la prânz toată valea este sub apă. Țară, școală.",
    "Nehir tepelerden doğar ve öğlene kadar bütün vadi sular altında kalır. Iğdır, İzmir.",
    "Upė prasideda kalvose, o vidurdienį visas slėnis jau po vandeniu. Ąžuolas, žvėris.",
    "Sông bắt nguồn từ những ngọn đồi, và đến trưa cả thung lũng đã ngập nước.",
    "Sungai itu berhulu di perbukitan, dan pada tengah hari seluruh lembah terendam air.",
    "Mto huanzia vilimani, na kufikia adhuhuri bonde lote liko chini ya maji.",
    "Ο ποταμός πηγάζει από τους λόφους και ως το μεσημέρι όλη η κοιλάδα είναι κάτω από το νερό.",
    "Река берёт начало в холмах, и к полудню вся долина уже под водой. Объём, ёлка.",
    "Річка бере початок у пагорбах, і до полудня вся долина вже під водою. Їжак, ґанок.",
    "Реката извира от хълмовете и към обяд цялата долина е под вода.",
    "Գետը սկիզբ է առնում բլուրներից, և կեսօրին ամբողջ հովիտը ջրի տակ է։",
    "მდინარე ბორცვებში იღებს სათავეს და შუადღისთვის მთელი ხეობა წყლის ქვეშაა.",
    "הנהר מתחיל בגבעות, ועד הצהריים כל העמק מתחת למים. שָׁלוֹם",
    "ينبع النهر من التلال، وبحلول الظهر يكون الوادي كله تحت الماء. مَرْحَبًا ١٢٣",
    "رود از تپه‌ها سرچشمه می‌گیرد و تا ظهر تمام دره زیر آب است. ۱۲۳",
    "نदी पहाड़ियों से निकलती है और दोपहर तक पूरी घाटी पानी में डूब जाती है। १२३",
    "নদীটি পাহাড় থেকে শুরু হয় এবং দুপুরের মধ্যে পুরো উপত্যকা পানির নিচে চলে যায়।",
    "நதி மலைகளில் தோன்றுகிறது, நண்பகலில் முழு பள்ளத்தாக்கும் நீரில் மூழ்கிவிடும்.",
    "నది కొండల్లో పుడుతుంది, మధ్యాహ్నానికి లోయ మొత్తం నీటిలో మునిగిపోతుంది.",
    "แม่น้ำเริ่มต้นจากเนินเขา และพอเที่ยงวันทั้งหุบเขาก็จมอยู่ใต้น้ำ",
    "ទន្លេចាប់ផ្តើមពីភ្នំ ហើយនៅពេលថ្ងៃត្រង់ជ្រលងភ្នំទាំងមូលលិចទឹក។",
    "မြစ်သည် တောင်ကုန်းများမှ စတင်ပြီး မွန်းတည့်ချိန်တွင် ချိုင့်ဝှမ်းတစ်ခုလုံး ရေအောက်ရောက်သည်။",
    "ወንዙ ከኮረብቶች ይነሳል፤ እኩለ ቀን ላይ ሸለቆው ሁሉ በውሃ ውስጥ ነው።",
    "河流发源于山丘，到了中午，整个山谷都被水淹没了。",
    "河流發源於山丘，到了中午，整個山谷都被水淹沒了。",
    "川は丘から流れ出し、正午には谷全体が水の下になる。カタカナとひらがな、ﾊﾝｶｸ。",
    "강은 언덕에서 시작되고, 정오가 되면 골짜기 전체가 물에 잠긴다.",
    "👩‍👩‍👧‍👦 🏳️‍🌈 😀😃 🇩🇪🇯🇵 ✊🏽 ☕️ ♥ → ∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, ½ + ⅓ ≈ 0.8333 𝔸𝕭 ﬁ ffi …",
)

CODE = (
    'def area(radius: float) -> float:\n    """Return pi * r**2."""\n    return 3.14159 * radius ** 2\n',
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];  // dot product\n}\n",
    '<table>\n  <tr><td>1</td><td>&nbsp;</td></tr>\n</table>\n<a href="https://example.org/?q=1&r=2">x</a>\n',
    '{"name": "t5g", "sizes": [640, 1152, 2560], "ok": true, "none": null}\r\n',
    "SELECT id, COUNT(*) FROM t WHERE x >= 10 AND y <> 'it''s' GROUP BY 1;\n",
    "\\begin{equation}\n  \\sum_{i=1}^{n} x_i^2 \\le \\frac{1}{2}\n\\end{equation}\n",
    '#!/bin/sh\nset -e\n\n\nif [ -n "$1" ]; then\n        exec grep -rn -- "$1" . | head -n 20\nfi\n',
)

# What tokenizers get wrong: runs, edges of words, marks, look-alikes of special pieces, rare characters.
ODD = (
    *(
        c * n
        for c in (" ", "\n", "\t", "\r\n", "a", "=", "0", "é", "😀", " a", "\u00a0")
        for n in (1, 2, 3, 31, 32, 33)
    ),
    *"<0x0A> <0xFF> <unk <eos eos> <start_of_turn <b> </b> <<b>> <table [multimodal] <unused __init__".split(),  # noqa: SIM905
    *("\0", "\x01\x02", "\x7f", "\x80", "\u200b", "\u200d", "\ufeff", "\u2028", "\ufffd", "\U0010ffff"),
    *"𓀀𓂀 𠀀𪚥 e\u0301 \u0301 ﬀ Ǆ ẛ̣ İi̇ ß １２３ ① Ⅷ ㍿ don’t don't ’s “q” …".split(),  # noqa: SIM905
)
SPECIAL = ("<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>")
SPECIAL += ("<end_of_image>", "<unused0>", "<unused98>", "<unused6237>", "<unused62")
SPACE_MARK = "▁"


def cut(text: str, rng: random.Random, longest: int = 300) -> Iterator[str]:
    """Cut a text at random places, which are as often inside a word as not."""
    while text:
        n = rng.randint(1, longest)
        yield text[:n]
        text = text[n:]


def library_code(rng: random.Random, n: int) -> list[str]:
    """Return n pieces of Python's standard library."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    rng.shuffle(paths)
    found: list[str] = []
    for path in paths:
        if len(found) >= n:
            break
        found += cut(path.read_text(encoding="utf-8", errors="replace"), rng)
    return found[:n]


def translations(rng: random.Random, n: int) -> list[str]:
    """Return up to n messages of the machine's programs in every language that it has, as many of each as there are."""
    catalogues: dict[str, list[Path]] = {}
    for path in sorted(Path("/usr/share/locale").glob("*/LC_MESSAGES/*.mo")):
        catalogues.setdefault(path.parts[-3], []).append(path)
    found: list[str] = []
    for paths in catalogues.values():
        with rng.choice(paths).open("rb") as file:
            try:
                messages = list(gettext.GNUTranslations(file)._catalog.values())  # type: ignore[attr-defined]
            except (ValueError, LookupError):
                continue  # some have a header that Python's gettext does not read
        texts = [text for text in messages if isinstance(text, str) and text]
        found += rng.sample(texts, min(len(texts), max(1, n // len(catalogues))))
    return found


def random_character(rng: random.Random) -> str:
    """Return any character that UTF-8 can hold, mostly of the planes in use."""
    code = rng.choice((rng.randrange(0x250), rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x110000)))
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


def mixtures(rng: random.Random, n: int, extra: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield n strings put together from all of this file, `extra`, and random characters."""
    parts = (*ODD, *extra)
    for _ in range(n):
        kind = rng.randrange(4)
        if kind == 0:
            yield "".join(random_character(rng) for _ in range(rng.randint(1, 20)))
        elif kind == 1:
            yield "".join(rng.choice(" \n\ta.<>/0=") for _ in range(rng.randint(1, 60)))
        else:
            words = []
            for _ in range(rng.randint(1, 12)):
                sentence = rng.choice(SENTENCES + CODE)
                begin = rng.randrange(len(sentence))
                words.append(rng.choice((rng.choice(parts), sentence[begin : begin + rng.randint(1, 15)])))
            yield rng.choice(("", " ")).join(words)


def broken_utf8(rng: random.Random, n: int) -> Iterator[bytes]:
    """Yield n texts with bytes changed, dropped or added, so that most are not UTF-8."""
    for _ in range(n):
        text = bytearray(rng.choice(SENTENCES).encode()[: rng.randint(1, 60)])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text)) if text else 0
            text[at : at + rng.randint(0, 1)] = rng.randbytes(rng.randint(0, 2))
        yield bytes(text)
