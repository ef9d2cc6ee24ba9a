"""The engine's own messages in Spanish: errors, notes, and the verdict on where the time went.

Manifests contain them in English, as written by the engine. This table has messages of fixed wording as in the source,
with `{name}` for inserted values. These are copied, except that numbers are formatted for the language and messages
within messages are translated. Unknown text, such as FFmpeg's or the system's, stays English and is marked as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from engine.report.words import Words

MESSAGES: tuple[tuple[str, str], ...] = (
    # Why a video failed or is incomplete: its nature.
    ("is empty (zero bytes)", "está vacío (cero bytes)"),
    ("is a playlist, not a video", "es una lista de reproducción, no un vídeo"),
    ("is {message}, not a video", "es {message}, no un vídeo"),
    ("a still image", "una imagen fija"),
    ("a text", "un texto"),
    ("is not a file", "no es un archivo"),
    ("does not exist", "no existe"),
    ("is outside the folders that may be read ({value})", "está fuera de las carpetas que se pueden leer ({value})"),
    ("has no video stream", "no tiene flujo de vídeo"),
    (
        "has a codec that this build of FFmpeg can't decode",
        "tiene un códec que esta versión de FFmpeg no puede decodificar",
    ),
    (
        "has no frame that can be decoded ({message})",
        "no tiene ningún fotograma que se pueda decodificar ({message})",
    ),
    ("has no frame that can be decoded", "no tiene ningún fotograma que se pueda decodificar"),
    ("has no frame that the previous file does not have", "no tiene ningún fotograma que no tenga el archivo anterior"),
    ("ends before start_s = {number}", "termina antes de start_s = {number}"),
    ("can't be opened: {message}", "no se puede abrir: {message}"),
    ("can't be read: {message}", "no se puede leer: {message}"),
    ("reading stopped: {message}", "la lectura se detuvo: {message}"),
    ("no data within the timeout", "no llegaron datos dentro del plazo"),
    (
        "not a video, or its header is damaged or missing",
        "no es un vídeo, o su cabecera falta o está dañada",
    ),
    (
        "is {value}, but its scene was drawn on {other}: another aspect. Draw the scene on this video, or correct"
        " `size` and `camera`",
        "es de {value}, pero su escena se dibujó sobre {other}: otra proporción. Dibuje la escena sobre este vídeo, o"
        " corrija `size` y `camera`",
    ),
    # Missing or damaged parts.
    ("{message} after {number} frames", "{message} tras {number} {number:fotograma|fotogramas}"),
    ("interrupted", "interrumpido"),
    ("cancelled", "cancelado"),
    ("cancelled before it started", "cancelado antes de comenzar"),
    ("cancelled after its worker had died", "cancelado después de que muriera su worker"),
    ("interrupted before it started", "interrumpido antes de comenzar"),
    ("failed before it started", "falló antes de comenzar"),
    ("was not processed", "no se procesó"),
    ("the run was aborted", "la ejecución se interrumpió"),
    ("another attempt has taken over this video", "otro intento se ha hecho cargo de este vídeo"),
    (
        "begins in the middle of a group of pictures: its first {number} frame{s} can't be decoded",
        "empieza en medio de un grupo de imágenes: {number:su primer fotograma no se puede|sus primeros"
        " {number} fotogramas no se pueden} decodificar",
    ),
    (
        "its first {number} frame{s} can't be decoded",
        "{number:su primer fotograma no se puede|sus primeros {number} fotogramas no se pueden} decodificar",
    ),
    ("{number} damaged packet{s}", "{number} {number:paquete dañado|paquetes dañados}"),
    ("{number} damaged frame{s}", "{number} {number:fotograma dañado|fotogramas dañados}"),
    (
        "images with no size, or with more than max_frame_bytes = {number}",
        "imágenes sin tamaño, o de más de max_frame_bytes = {number}",
    ),
    ("ends early: {number} of {other_number} frames", "termina antes de tiempo: {number} de {other_number} fotogramas"),
    (
        "ends early: the file is truncated after {number} frames",
        "termina antes de tiempo: el archivo está cortado tras {number} {number:fotograma|fotogramas}",
    ),
    (
        "{number} of its {other_number} frames can't be decoded",
        "{number} de sus {other_number} fotogramas no se {number:puede|pueden} decodificar",
    ),
    (
        "a second video is appended to it at byte {number}, which is not read: split the file there",
        "en el byte {number} tiene añadido un segundo vídeo, que no se lee: divida ahí el archivo",
    ),
    (
        "was still being written while it was read: {number} bytes when it was opened, {other_number} at the end",
        "todavía se estaba escribiendo mientras se leía: {number} bytes al abrirlo, {other_number} al final",
    ),
    ("was written to while it was read", "se modificó mientras se leía"),
    (
        "the stream ended after {number} frames and could not be opened again",
        "el flujo terminó tras {number} {number:fotograma|fotogramas} y no se pudo volver a abrir",
    ),
    (
        "goes on for more than max_duration_s = {number} seconds, after {other_number} frames: not read further",
        "dura más de max_duration_s = {number} segundos, tras {other_number} fotogramas: no se lee más",
    ),
    (
        "took {number} seconds to decode, more than max_decode_s = {other_number},",
        "tardó {number} segundos en decodificarse, más que max_decode_s = {other_number},",
    ),
    (
        "has an image of {value} = {number} pixels, more than max_pixels = {other_number}",
        "tiene una imagen de {value} = {number} píxeles, más que max_pixels = {other_number}",
    ),
    (
        "has an image of {value} in {number} bytes, more than max_frame_bytes = {other_number}",
        "tiene una imagen de {value} en {number} bytes, más que max_frame_bytes = {other_number}",
    ),
    # Outputs.
    ("{value} can't be written: {message}", "no se puede escribir {value}: {message}"),
    ("{value} can't be made: {message}", "no se puede crear {value}: {message}"),
    ("{value} can't be read: {message}", "no se puede leer {value}: {message}"),
    (
        "annotated video left out: {value} (frames or times that MP4 can't hold)",
        "vídeo anotado omitido: {value} (fotogramas o tiempos que MP4 no admite)",
    ),
    ("no space left on the disk", "no queda espacio en el disco"),
    ("permission denied", "permiso denegado"),
    ("no such file or directory", "no existe el archivo o la carpeta"),
    ("is a directory", "es una carpeta"),
    ("input/output error", "error de entrada o salida"),
    ("read-only file system", "sistema de archivos de solo lectura"),
    # A worker's messages about its engine.
    ("the engine made no progress for {number} s", "el motor no avanzó durante {number} s"),
    ("the engine {message}", "el motor {message}"),
    ("does not answer", "no responde"),
    ("was killed by {value}", "terminó por {value}"),
    ("ended with status {number}", "terminó con el estado {number}"),
    # Notes.
    (
        "{number} frame{s} before the first key frame can't be decoded: they refer to frames from before the start of"
        " the file",
        "{number} {number:fotograma|fotogramas} antes del primer fotograma clave no se {number:puede|pueden}"
        " decodificar: se refieren a lo anterior al comienzo del archivo",
    ),
    (
        "the stream has {number} hole{s}: data was lost on its way or when it was recorded, and frames may be missing"
        " there",
        "el flujo tiene {number} {number:hueco|huecos}: se perdieron datos por el camino o al grabar, y ahí pueden"
        " faltar fotogramas",
    ),
    (
        "the container claims {number} frames and has {other_number}",
        "el contenedor dice tener {number} fotogramas y tiene {other_number}",
    ),
    (
        "the file's clock jumps {message}: timestamps continue without the jump",
        "el reloj del archivo salta {message}: los tiempos dados siguen sin el salto",
    ),
    ("{message} and {number} more time{s}", "{message} y {number} {number:vez|veces} más"),
    ("{message}, {rest}", "{message}, {rest}"),
    ("back by {number} s at {other_number} s", "{number} s atrás en {other_number} s"),
    ("ahead by {number} s at {other_number} s", "{number} s adelante en {other_number} s"),
    ("annotated video shifted by {number} s to start at 0", "vídeo anotado desplazado {number} s para empezar en 0"),
    (
        "annotated video: the gap of {number} s is longer than MP4 can hold, and times after it are wrong",
        "vídeo anotado: el hueco de {number} s es más largo de lo que admite MP4, y los tiempos posteriores no son"
        " exactos",
    ),
    ("audio left out: MP4 does not take {value}", "sonido omitido: MP4 no admite {value}"),
    ("audio left out: its {value} header is missing", "sonido omitido: falta su cabecera {value}"),
    ("audio left out from {number} s on: {value}", "sonido omitido desde {number} s: {value}"),
    (
        "the model gave {number} values that are not finite numbers; they are ignored",
        "el modelo dio {number} valores que no son números finitos; no se tienen en cuenta",
    ),
    ("started over: {message}", "se empezó de nuevo: {message}"),
    ("{message} has changed since the checkpoint", "{message} ha cambiado desde el punto de control"),
    ("{message} have changed since the checkpoint", "{message} han cambiado desde el punto de control"),
    ("{message} has changed since it was done", "{message} ha cambiado desde que se hizo"),
    ("{message} have changed since it was done", "{message} han cambiado desde que se hizo"),
    ("{message} has changed since it was begun", "{message} ha cambiado desde que se comenzó"),
    ("{message} have changed since it was begun", "{message} han cambiado desde que se comenzó"),
    ("{message} and {rest}", "{message} y {rest}"),
    ("the configuration ({value})", "la configuración ({value})"),
    ("the software ({value})", "el software ({value})"),
    ("the model", "el modelo"),
    ("the backend", "el backend"),
    ("the input", "la entrada"),
    ("the precision", "la precisión"),
    ("the scene", "la escena"),
    ("the drawn scene", "la escena dibujada"),
    ("the checkpoint is damaged", "el punto de control está dañado"),
    ("the journal is damaged ({value})", "el diario está dañado ({value})"),
    (
        "the video decodes to different frames than before the checkpoint",
        "el vídeo se decodifica en otros fotogramas que antes del punto de control",
    ),
    ("{value} no longer exists", "{value} ya no está"),
    ("{value} is shorter than at the checkpoint", "{value} es más corto que en el punto de control"),
    # Reasons for leaving out files of a folder.
    ("a link that leads nowhere", "un enlace que no lleva a ninguna parte"),
    ("a camera's preview or thumbnail of another file", "una vista previa o miniatura de otro archivo, de la cámara"),
    ("an annotated video of an earlier run", "un vídeo anotado de una ejecución anterior"),
    ("a link to the output folder", "un enlace a la carpeta de salida"),
    ("a link that leads back to its own folder", "un enlace que lleva de vuelta a donde está"),
    ("a link that leads out of the allowed folders", "un enlace que lleva fuera de las carpetas permitidas"),
    ("a link to a folder that is already searched", "un enlace a una carpeta que ya se recorre"),
    ("a recycle bin", "una papelera"),
    ("a system folder", "una carpeta del sistema"),
    # Reasons for choosing a device.
    ("no NVIDIA GPU was found", "aquí no responde ninguna GPU de NVIDIA"),
    ("nothing on the GPU can be used", "no se puede usar nada en la GPU"),
    ("ONNX Runtime has its CUDA provider", "ONNX Runtime tiene su proveedor CUDA"),
    ("the plan {value} is for this GPU ({other})", "el plan {value} es para esta GPU ({other})"),
    # Models.
    (
        "People and vehicles, made for CPUs. Trained for this project.",
        "Personas y vehículos, hecho para CPU. Entrenado para este proyecto.",
    ),
    (
        "YOLOX-m, COCO: the most accurate here, for a GPU. No published hash is known.",
        "YOLOX-m, COCO: el más exacto de estos, para una GPU. No se conoce ningún hash publicado.",
    ),
    (
        "YOLOX-nano, COCO: the smallest that knows 80 classes, made for CPUs.",
        "YOLOX-nano, COCO: el más pequeño que conoce 80 clases, hecho para CPU.",
    ),
    ("YOLOX-s, COCO: for a GPU, or a patient CPU.", "YOLOX-s, COCO: para una GPU, o una CPU con paciencia."),
    (
        "YOLOX-tiny, COCO: more accurate than nano at the same input size.",
        "YOLOX-tiny, COCO: más exacto que nano con el mismo tamaño de entrada.",
    ),
    # Where the time went.
    (
        "Verdict: the cores are the limit, and {value} takes most of them. {message} can do {number} fps; this run did"
        " {other_number}.",
        "Veredicto: limitan los núcleos, y {value} ocupa la mayor parte. Máximo de {message}: {number} fps; esta"
        " ejecución hizo {other_number}.",
    ),
    (
        "Verdict: {value} is the limit. {message} can do {number} fps; this run did {other_number}.",
        "Veredicto: limita {value}. Máximo de {message}: {number} fps; esta ejecución hizo {other_number}.",
    ),
    (
        "Only {number}% of that was reached: unmeasured limits (Python's lock, uneven frames, too little work)"
        " apply too.",
        "Solo se alcanzó el {number} %: también limita lo que no se mide (el bloqueo de Python, fotogramas desiguales,"
        " poco trabajo).",
    ),
    (
        "The gate had {number} of {other_number} frames inferred, whole or in parts, its audit included.",
        "Con gate se infirieron {number} de {other_number} fotogramas, enteros o en partes, incluida su auditoría.",
    ),
    (
        "Cores: {number} of {other_number} used, {third_number} by other programs.",
        "Núcleos: {number} de {other_number} usados, {third_number} por otros programas.",
    ),
    ("Cores: {number} of {other_number} used.", "Núcleos: {number} de {other_number} usados."),
    (
        "If {value} cost nothing: {number} fps, limited by {message}.",
        "Si {value} no costara nada: {number} fps, con el límite en {message}.",
    ),
    (
        "If {value} cost half: {number} fps, limited by {message}.",
        "Si {value} costara la mitad: {number} fps, con el límite en {message}.",
    ),
    (
        "With twice the {other_message}: {number} fps, limited by {message}.",
        "Con el doble de {other_message}: {number} fps, con el límite en {message}.",
    ),
    ("Decoders", "los decodificadores"),
    ("Workers", "los workers"),
    ("The tracker", "el seguidor"),
    ("Sinks", "las salidas"),
    ("The cores", "los núcleos"),
    ("Streams", "los flujos"),
    ("the cores", "los núcleos"),
    ("workers", "workers"),
    ("cores", "núcleos"),
    ("streams", "flujos"),
)
"""(English as written by the engine, Spanish). `{number}` and the like are numbers, `{s}` is the plural s, `{message}`
and `{rest}` are messages, `{value}` and `{other}` anything. The first match counts. In Spanish, `{number:one|many}`
chooses by the number."""

_MESSAGES = ("message", "other_message", "rest")
_NUMBERS = ("number", "other_number", "third_number")
_CLOSED = {"s": "s?", **dict.fromkeys(_NUMBERS, r"-?\d[\d,]*(?:\.\d+)?")}
_FIELD = re.compile(r"\{(\w+)\}")
_CHOICE = re.compile(r"\{(\w+):((?:[^{}|]|\{\w+\})*)\|((?:[^{}|]|\{\w+\})*)\}")
# Levels of messages within messages.
_DEEPEST = 6


@dataclass(frozen=True)
class Said:
    """A piece of text, and whether it is untranslated English on a page in another language."""

    text: str
    foreign: bool = False


def said(text: str, words: Words) -> list[Said]:
    """Translate a message to the language of a page; if it consists of several, separated by semicolons, each."""
    if words.language == "en":
        return [Said(text)]
    if (whole := _translated(text, words)) is not None:
        return [Said(whole)]
    return [Said(part if found is None else found, found is None) for part, found in _parts(text, words)]


def _parts(text: str, words: Words) -> Iterator[tuple[str, str | None]]:
    for part in text.split("; "):
        yield part, _translated(part, words)


def _translated(text: str, words: Words, depth: int = 0) -> str | None:
    """Translate a message to Spanish; None if it is unknown. Unknown messages within it stay as they are."""
    if depth > _DEEPEST:
        return None
    for pattern, spanish in _patterns():
        if (found := pattern.fullmatch(text)) is None:
            continue
        values = found.groupdict()
        inner = {name: _translated(values[name], words, depth + 1) for name in _MESSAGES if name in values}
        # A pattern that begins with a message matches anything, so the message must be known.
        if spanish.startswith("{message}") and None in inner.values():
            continue
        values |= {name: text for name, text in inner.items() if text is not None}
        return _filled(spanish, values, words)
    return None


def _filled(spanish: str, values: dict[str, str], words: Words) -> str:
    def chosen(found: re.Match[str]) -> str:
        return found[2] if values[found[1]] == "1" else found[3]

    def put(found: re.Match[str]) -> str:
        value = values[found[1]]
        return _number(value, words) if found[1] in _NUMBERS else value

    return _FIELD.sub(put, _CHOICE.sub(chosen, spanish))


def _number(text: str, words: Words) -> str:
    whole, _, decimals = text.replace(",", "").partition(".")
    return words.number(float(text.replace(",", "")), len(decimals)) if len(whole) < 16 else text


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((_pattern(english), spanish) for english, spanish in MESSAGES)


def _pattern(english: str) -> re.Pattern[str]:
    pieces = _FIELD.split(english)
    text = "".join(
        f"(?P<{piece}>{_CLOSED.get(piece, '.+')})" if place % 2 else re.escape(piece)
        for place, piece in enumerate(pieces)
    )
    return re.compile(text, re.DOTALL)
