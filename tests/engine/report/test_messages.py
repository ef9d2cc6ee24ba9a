"""The engine's messages on a Spanish page: those of fixed wording in Spanish, foreign texts as they are."""

import ast
import re
import string

import pytest

from engine.profiling.sentences import sentences
from engine.report.messages import MESSAGES, Said, said
from engine.report.words import Words
from models.registry import list_models
from tests.assets import ROOT
from tests.e2e.damage import cut
from tests.e2e.runs import clip, fake_engine
from tests.engine.report.handmade import Film, output_folder
from tests.engine.report.test_pages import page

SPANISH = Words("es")

# Put together of pieces in the source, so that no piece of it has the whole wording.
COMPOSED = {
    "the drawn scene",
    "the input",
    "{message} and {number} more time{s}",
    "{message} after {number} frames",
    "back by {number} s at {other_number} s",
    "ahead by {number} s at {other_number} s",
    "{message} has changed since the checkpoint",
    "{message} have changed since the checkpoint",
    "{message} has changed since it was done",
    "{message} have changed since it was done",
    "{message} has changed since it was begun",
    "{message} have changed since it was begun",
    "Verdict: {value} is the limit. {message} can do {number} fps; this run did {other_number}.",
}
# An operating system's own, in its usual English.
OF_THE_SYSTEM = {
    "permission denied",
    "no such file or directory",
    "is a directory",
    "input/output error",
    "read-only file system",
}


def fields(text):
    """Names of what is put into a text, also where a number chooses between wordings."""
    return set(re.findall(r"\{(\w+)[:}]", text))


def test_the_wording_is_the_source_s():
    """Whoever changes a message changes it here, too."""
    nodes = [
        node
        for package in ("engine", "orchestrator", "models")
        for path in (ROOT / package).rglob("*.py")
        if path != ROOT / "engine" / "report" / "messages.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    source = "\n".join([*texts, *(model.description for model in list_models())]).lower()
    missing = {
        piece: english
        for english, _ in MESSAGES
        if english not in COMPOSED | OF_THE_SYSTEM
        for piece in re.split(r"\{\w+\}|[:.,;()%]", english)
        if piece.strip().lower() not in source
    }
    assert not missing


def test_both_languages_have_the_same_put_in():
    seen = set()
    for english, spanish in MESSAGES:
        assert fields(english) - {"s"} == fields(spanish), english
        assert english not in seen, "it is there twice"
        seen.add(english)
        assert string.Formatter().parse(english)


@pytest.mark.parametrize(
    ("english", "spanish"),
    [
        ("is empty (zero bytes)", "está vacío (cero bytes)"),
        ("ends early: 10 of 1200 frames", "termina antes de tiempo: 10 de 1.200 fotogramas"),
        ("1 damaged packet", "1 paquete dañado"),
        ("12 damaged packets; 1 damaged frame", "12 paquetes dañados; 1 fotograma dañado"),
        (
            "begins in the middle of a group of pictures: its first 1 frame can't be decoded",
            "empieza en medio de un grupo de imágenes: su primer fotograma no se puede decodificar",
        ),
        (
            "its first 30 frames can't be decoded",
            "sus primeros 30 fotogramas no se pueden decodificar",
        ),
        (
            "has no frame that can be decoded (3 damaged packets)",
            "no tiene ningún fotograma que se pueda decodificar (3 paquetes dañados)",
        ),
        ("reading stopped: no data within the timeout after 7 frames",
         "la lectura se detuvo: no llegaron datos dentro del plazo tras 7 fotogramas"),
        ("a b.mp4 can't be written: no space left on the disk", "no se puede escribir a b.mp4: no queda espacio en el"
         " disco"),
        ("interrupted after 1 frames", "interrumpido tras 1 fotograma"),
        ("the engine was killed by SIGKILL after 12 frames", "el motor terminó por SIGKILL tras 12 fotogramas"),
        ("annotated video shifted by -0.100 s to start at 0", "vídeo anotado desplazado -0,100 s para empezar en 0"),
        (
            "started over: the configuration (conf, draw) and the drawn scene have changed since the checkpoint",
            "se empezó de nuevo: la configuración (conf, draw) y la escena dibujada han cambiado desde el punto de"
            " control",
        ),
        ("a recycle bin", "una papelera"),
        (
            "the model gave 1,024 values that are not finite numbers; they are ignored",
            "el modelo dio 1.024 valores que no son números finitos; no se tienen en cuenta",
        ),
    ],
)  # fmt: skip
def test_messages(english, spanish):
    assert "; ".join(part.text for part in said(english, SPANISH)) == spanish
    assert not any(part.foreign for part in said(english, SPANISH))
    assert said(english, Words("en")) == [Said(english)]


def test_what_is_not_known_stays_as_it_is():
    assert said("something new after 3 frames", SPANISH) == [Said("something new after 3 frames", foreign=True)]
    assert said("can't be opened: protocol not found", SPANISH) == [Said("no se puede abrir: protocol not found")]
    assert said("2 damaged frames; <b>x</b>", SPANISH) == [
        Said("2 fotogramas dañados"),
        Said("<b>x</b>", foreign=True),
    ]
    assert said("", SPANISH) == [Said("", foreign=True)] or said("", SPANISH) == [Said("")]


def test_a_hostile_text_takes_no_time():
    text = "the engine " + "can't be read: " * 300 + " and , " * 300
    assert said(text, SPANISH)


def test_where_the_time_went():
    change = {"of": "infer", "change": "without", "fps": 80.0, "then": "cores"}
    doubled = {"of": "cores", "change": "doubled", "fps": 60.0, "then": "decode"}
    verdict = {
        "limits": [{"of": "cores", "fps": 35.25}],
        "cores": {"used": 1.5, "count": 2, "others": 0.25},
        "stage": "infer",
        "fps": 20.0,
        "explained": 0.6,
        "threads": [{"stages": [{"stage": "gate", "frames": 1200}, {"stage": "infer", "frames": 250}]}],
        "next": change,
        "changes": [change, doubled],
    }
    told = [said(line.removeprefix("- "), SPANISH) for line in sentences(verdict)]
    assert [part.text for (part,) in told] == [
        "Veredicto: limitan los núcleos, y infer ocupa la mayor parte. Máximo de los núcleos: 35,2 fps; esta ejecución"
        " hizo 20,0.",
        "Solo se alcanzó el 60 %: también limita lo que no se mide (el bloqueo de Python, fotogramas desiguales, poco"
        " trabajo).",
        "Con gate se infirieron 250 de 1.200 fotogramas, enteros o en partes, incluida su auditoría.",
        "Núcleos: 1,5 de 2 usados, 0,2 por otros programas.",
        "Si infer no costara nada: 80,0 fps, con el límite en los núcleos.",
        "Con el doble de núcleos: 60,0 fps, con el límite en decode.",
    ]


def test_steps_of_a_clock():
    note = "the file's clock jumps back by 1.500 s at 3.000 s, ahead by 2.000 s at 4.000 s and 1 more time:"
    ((part),) = said(f"{note} timestamps continue without the jump", SPANISH)
    assert part.text == (
        "el reloj del archivo salta 1,500 s atrás en 3,000 s, 2,000 s adelante en 4,000 s y 1 vez más: los tiempos"
        " dados siguen sin el salto"
    )


def test_on_the_page(tmp_path):
    films = [
        Film("a", status="failed", error="is empty (zero bytes)", tracks=0),
        Film("b", status="partial", error="3 damaged packets; codec xyz says <no>"),
        Film("c", notes=("audio left out: MP4 does not take pcm_s16le",)),
    ]
    shown = page(output_folder(tmp_path, films), language="es")
    for text in ("está vacío (cero bytes)", "3 paquetes dañados; codec xyz says <no>", "MP4 no admite pcm_s16le"):
        assert text in shown.text
    foreign = [attributes for attributes in shown.named("span") if attributes.get("lang") == "en"]
    assert len(foreign) == 1
    plain = page(output_folder(tmp_path / "plain", films))
    assert "is empty (zero bytes)" in plain.text
    assert "lang" not in {key for attributes in plain.named("span") for key in attributes}


def test_of_a_run_that_meets_bad_files(tmp_path):
    """Every message of it is in Spanish."""
    (tmp_path / "in").mkdir()
    whole = clip(tmp_path / "in" / "whole.mp4", 30)
    (tmp_path / "in" / "empty.mp4").touch()
    (tmp_path / "in" / "junk.mp4").write_bytes(b"junk" * 500)
    (tmp_path / "in" / "text.mkv").write_text("#EXTM3U\nhttp://x/y\n")
    cut(whole, tmp_path / "in" / "cut.mp4", 12)
    with fake_engine(report=True, report_language="es") as engine:
        summary = engine.run([tmp_path / "in"], tmp_path / "out")
    told = [video["error"] for video in summary["videos"] if video["error"]]
    assert len(told) >= 3
    assert [part for text in told for part in said(text, SPANISH) if part.foreign] == []
