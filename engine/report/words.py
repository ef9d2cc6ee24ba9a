"""The texts of the pages, in English and Spanish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from engine.report.class_names import SPANISH_NAMES

Language: TypeAlias = Literal["en", "es"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

_COMMON: dict[str, tuple[str, str]] = {
    "made_by": ("Made by yolo-engine", "Hecho con yolo-engine"),
    "skip": ("Skip to the events", "Ir a los eventos"),
    "none": ("none", "ninguno"),
    "all": ("all", "todos"),
}

_REPORT: dict[str, tuple[str, str]] = {
    "report": ("Video report", "Informe de vídeo"),
    "noscript": (
        "Scripts are switched off: the lists, maps and player below need them. Counts and problems are complete.",
        "Los scripts están desactivados: las listas, los mapas y el reproductor los necesitan. Los recuentos y los"
        " problemas están completos.",
    ),
    # What is wrong comes first.
    "attention": ("Failed, cut or not examined", "Fallidos, cortados o no examinados"),
    "all_well": (
        "Nothing: every video was read whole, and the timeline has no gap.",
        "Nada: todos los vídeos se leyeron enteros y la línea de tiempo no tiene huecos.",
    ),
    "all_well_part": (
        "Nothing: of every video the part that was requested, {part}, was read whole, and the timeline has no gap.",
        "Nada: de cada vídeo se leyó entera la parte pedida, {part}, y la línea de tiempo no tiene huecos.",
    ),
    "part_from": ("from {start} on", "desde {start}"),
    "part_to": ("up to {end}", "hasta {end}"),
    "part_between": ("from {start} to {end}", "de {start} a {end}"),
    "video": ("Video", "Vídeo"),
    "status": ("Status", "Estado"),
    "why": ("Why", "Motivo"),
    "status_ok": ("whole", "entero"),
    "status_ok_part": ("the part asked for, whole", "la parte pedida, entera"),
    "status_failed": ("failed", "fallido"),
    "status_partial": ("cut", "cortado"),
    "status_cancelled": ("cancelled", "cancelado"),
    "status_not begun": ("not begun", "no comenzado"),
    "gap": ("not examined", "no examinado"),
    "gap_why": ("no recording from {start} to {end}", "sin grabación desde {start} hasta {end}"),
    "left_out": ("left out", "omitido"),
    "noted": ("read whole, with a note", "entero, con una nota"),
    "noted_part": ("part read whole, with a note", "parte leída entera, con una nota"),
    "untracked": (
        "Without tracks, so not in the lists: {names}. Run with `tracks` among the formats.",
        "Sin trayectorias, por eso no están en las listas: {names}. Ejecute con `tracks` entre los formatos.",
    ),
    # Totals.
    "totals": ("Totals", "Totales"),
    "videos": ("videos", "vídeos"),
    "count_videos": ("{n} video", "{n} vídeo"),
    "count_videos_many": ("{n} videos", "{n} vídeos"),
    "count_ids": ("{n} track id", "{n} identificador"),
    "count_ids_many": ("{n} track ids", "{n} identificadores"),
    "count_frames": ("{n} frame", "{n} fotograma"),
    "count_frames_many": ("{n} frames", "{n} fotogramas"),
    "count_more_bins": ("{n} more bin is in counts.csv.", "Hay {n} intervalo más en counts.csv."),
    "count_more_bins_many": ("{n} more bins are in counts.csv.", "Hay {n} intervalos más en counts.csv."),
    "count_objects": ("{n} object", "{n} objeto"),
    "count_objects_many": ("{n} objects", "{n} objetos"),
    "examined": ("examined", "examinados"),
    "frames": ("frames", "fotogramas"),
    "tracks": ("Tracks", "Trayectorias"),
    "objects": ("objects", "objetos"),
    "ids": ("track ids", "identificadores"),
    "crossings": ("line crossings", "cruces de línea"),
    "stays": ("stays in zones", "estancias en zonas"),
    "range": ("{low} to {high}", "{low} a {high}"),
    "reviewed": (
        "After a review: {confirmed} confirmed; {rejected} were rejected and are not counted.",
        "Tras una revisión: confirmados, {confirmed}; rechazados, que no se cuentan, {rejected}.",
    ),
    "count_failed": ("{n} failed", "{n} fallido"),
    "count_failed_many": ("{n} failed", "{n} fallidos"),
    "count_partial": ("{n} cut", "{n} cortado"),
    "count_partial_many": ("{n} cut", "{n} cortados"),
    # A camera.
    "camera": ("Camera", "Cámara"),
    "counts": ("Counts", "Recuentos"),
    "line": ("Line", "Línea"),
    "zone": ("Zone", "Zona"),
    "direction": ("Direction", "Sentido"),
    "class": ("Class", "Clase"),
    "count": ("Count", "Recuento"),
    "total": ("Total", "Total"),
    "per_bin": ("per {length}", "por {length}"),
    "chart_said": (
        "{line}: {into} {into_count}, {out} {out_count}, in {bins} bins.",
        "{line}: {into} {into_count}, {out} {out_count}, en {bins} intervalos.",
    ),
    "not_looked": ("not examined", "no examinado"),
    "table_of": ("As a table", "En una tabla"),
    "median_dwell": ("Median dwell", "Estancia mediana"),
    "where": ("Where they went", "Por dónde pasaron"),
    "map_said": (
        "The scene of {camera}, without those who pass; over it the lines, zones, paths and heatmap.",
        "La escena de {camera}, sin quienes pasan; encima, las líneas, zonas, trayectorias y mapa de calor.",
    ),
    "show_paths": ("Paths", "Trayectorias"),
    "show_heat": ("Heatmap", "Mapa de calor"),
    "show_scene": ("Lines and zones", "Líneas y zonas"),
    "no_still": (
        "The video can't be read any more, so its scene is not shown.",
        "El vídeo ya no se puede leer; por eso no se muestra la escena.",
    ),
    "no_scene": (
        "No line or zone was drawn for this camera. Draw some with `yolo-engine scene`, then `yolo-engine analyze`.",
        "No hay líneas ni zonas para esta cámara. Dibújelas con `yolo-engine scene` y luego `yolo-engine analyze`.",
    ),
    # The list.
    "look": ("Events and tracks", "Eventos y trayectorias"),
    "events": ("Events", "Eventos"),
    "filters": ("Filters", "Filtros"),
    "hour": ("Time", "Hora"),
    "place": ("Line or zone", "Línea o zona"),
    "longer": ("At least, seconds", "Al menos, segundos"),
    "verdict": ("Verdict", "Veredicto"),
    "search": ("Track id", "Id de trayectoria"),
    "reset": ("Show all", "Mostrar todo"),
    "review": ("Review", "Revisión"),
    "list": ("List", "Lista"),
    "detail": ("Selected", "Selección"),
    "export": ("Save verdicts", "Guardar veredictos"),
    "import": ("Load verdicts", "Cargar veredictos"),
    "keys_help": (
        "Keys: J or ↓ next, K or ↑ previous, C confirm, R reject, U undo, space plays and pauses.",
        "Teclas: J o ↓ siguiente, K o ↑ anterior, C confirmar, R rechazar, U deshacer, espacio reproduce y pausa.",
    ),
    "export_help": (
        "Verdicts stay in this browser. Save them as a file, and `yolo-engine analyze OUT --verdicts FILE` counts"
        " without what was rejected.",
        "Los veredictos quedan en este navegador. Guárdelos en un archivo, y `yolo-engine analyze OUT --verdicts"
        " ARCHIVO` cuenta sin lo rechazado.",
    ),
    # Provenance.
    "provenance": ("How these numbers came about", "Cómo se obtuvieron estas cifras"),
    "accuracy": ("What limits them", "Qué las limita"),
    "model": ("Model", "Modelo"),
    "backend": ("Computed by", "Calculado por"),
    "precision": ("Precision", "Precisión"),
    "as_model": ("as the model's file or plan has it", "la del archivo o plan del modelo"),
    "started": ("Begun", "Comenzado"),
    "took": ("Took", "Duración"),
    "cost": (
        "{cpu} CPU seconds, {hour} per hour of video",
        "{cpu} segundos de CPU, {hour} por hora de vídeo",
    ),
    "job": ("Job", "Trabajo"),
    "workers": ("Workers", "Workers"),
    "config_hash": ("Hash of the configuration", "Hash de la configuración"),
    "settings": ("Settings that differ from the defaults", "Ajustes distintos de los predeterminados"),
    "versions": ("Versions", "Versiones"),
    "inputs": ("Videos", "Vídeos"),
    "clock": ("Clock", "Reloj"),
    "clock_given": ("given", "indicado"),
    "clock_name": ("from the file's name", "del nombre del archivo"),
    "clock_container": ("from the container", "del contenedor"),
    "clock_none": ("none: times are relative", "ninguno: los tiempos son relativos"),
    "length": ("Length", "Duración"),
    "length_of": ("{examined} examined of {length}", "{examined} examinados de {length}"),
    "attempts": ("{count} attempts", "{count} intentos"),
    "resumed": ("continued at frame {frame}", "continuó en el fotograma {frame}"),
    "time_went": ("Where the time went", "En qué se fue el tiempo"),
    "not_measured": (
        "Not measured: `yolo-engine run` measures it with `--stats` or `--report`.",
        "Sin medir: `yolo-engine run` lo mide con `--stats` o `--report`.",
    ),
    "not_measured_frames": (
        "This run processed no frame, so there was nothing to measure.",
        "Esta ejecución no procesó ningún fotograma, así que no había nada que medir.",
    ),
    "not_measured_job": (
        "A job measures its CPU seconds as a whole. `yolo-engine run --stats` measures each stage of the work.",
        "Un trabajo mide sus segundos de CPU en conjunto. `yolo-engine run --stats` mide cada etapa.",
    ),
    "acc_ids": (
        "A track id is what the tracker took for one object. Who is hidden for long, or leaves and comes back, gets a"
        " new one.",
        "Un identificador es lo que el seguidor tomó por un objeto. Quien queda oculto mucho tiempo, o sale y vuelve,"
        " recibe otro.",
    ),
    "acc_objects": (
        "The number of objects is an estimate, after joining the fragments of tracks strictly and loosely.",
        "El número de objetos es una estimación, tras unir los fragmentos de trayectorias de forma estricta y laxa.",
    ),
    "acc_conf": (
        "Detections with a score below {0} were not reported.",
        "No se tuvieron en cuenta detecciones con puntuación menor que {0}.",
    ),
    "acc_nano": (
        "street-nano is a small model for CPUs: it misses small, distant and crowded objects more often than larger"
        " models do.",
        "street-nano es un modelo pequeño para CPU: pierde objetos pequeños, lejanos o en multitud más a menudo que"
        " los modelos grandes.",
    ),
    "acc_gate": (
        "Only what had changed was inferred, and the rest carried over; each video's entry shows what that cost.",
        "Solo se infirió lo que había cambiado y lo demás se conservó; lo que costó figura junto a cada vídeo.",
    ),
    "acc_scan": (
        "Only groups of pictures in which something moves were examined (`scan`): nothing is known of the rest, and"
        " what stands still there is not in the counts.",
        "Solo se examinaron los grupos de imágenes en los que algo se mueve (`scan`): del resto no se sabe nada, y lo"
        " que está quieto allí no figura en los recuentos.",
    ),
    "acc_skip": (
        "Between two inferences {0} frames were skipped; the tracker predicted through them.",
        "Entre dos inferencias se saltaron {0} fotogramas; el seguidor predijo en ellos.",
    ),
    "acc_both": (
        "Between two inferences {0} frames were skipped; boxes there are interpolated.",
        "Entre dos inferencias se saltaron {0} fotogramas; sus cajas están interpoladas.",
    ),
    "acc_classes": ("Only these classes were looked for: {classes}.", "Solo se buscaron estas clases: {classes}."),
    "acc_remade_all": (
        "The tracks are not those of the run: they were made again from its detections (`retrack`): {0}.",
        "Las trayectorias no son las de la ejecución: se rehicieron a partir de sus detecciones (`retrack`): {0}.",
    ),
    "acc_remade": (
        "The tracks of {1} are not those of the run: they were made again from its detections (`retrack`): {0}.",
        "Las trayectorias de {1} no son las de la ejecución: se rehicieron a partir de sus detecciones (`retrack`):"
        " {0}.",
    ),
    "acc_corrected": (
        "A person has corrected the tracks of {0} (`import`).",
        "Una persona ha corregido las trayectorias de {0} (`import`).",
    ),
    "acc_part": (
        "Only a part of each video was examined: {0}. What lies outside it counts for nothing.",
        "Solo se examinó una parte de cada vídeo: {0}. Lo que queda fuera no cuenta.",
    ),
    "acc_margin": (
        "A track counts once it stands beyond the line, or the zone's edge, by the scene's margin.",
        "Una trayectoria cuenta cuando rebasa la línea, o el borde de la zona, por el margen de la escena.",
    ),
    "acc_partial": (
        "Of videos that are cut, the counts go as far as could be read.",
        "En los vídeos cortados, los recuentos llegan hasta donde se pudo leer.",
    ),
    "acc_clock_name": (
        "Times of day are those in the files' names; whether that clock was right is not known.",
        "Las horas son las de los nombres de archivo; no se sabe si ese reloj era correcto.",
    ),
    # Index.
    "index_why": (
        "One page would be larger than {size}: each camera has its own.",
        "Una sola página superaría {size}: cada cámara tiene la suya.",
    ),
    "pages": ("Pages", "Páginas"),
    "back": ("All cameras", "Todas las cámaras"),
    "thinned_paths_fewer": ("Paths are drawn with fewer points.", "Las trayectorias se dibujan con menos puntos."),
    "thinned_paths_none": ("There are too many paths to draw.", "Hay demasiadas trayectorias para dibujarlas."),
    "thinned_idle": (
        "The {left} shortest of {all} tracks, at most {seconds} s long and without an event, are not in this page's"
        " list: tracks.csv has them all.",
        "Las {left} trayectorias más cortas de {all}, de {seconds} s como máximo y sin eventos, no están en la lista:"
        " tracks.csv las tiene todas.",
    ),
    "thinned_listed": (
        "Only the first {listed} of {all} tracks are in this page's list: events.csv and tracks.csv have them all.",
        "Solo las primeras {listed} de {all} trayectorias están en la lista: events.csv y tracks.csv las tienen todas.",
    ),
}

# Texts of the scripts.
_SCRIPT: dict[str, tuple[str, str]] = {
    "j_shown": ("{shown} of {all} shown", "se muestran {shown} de {all}"),
    "j_event": ("{place} → {direction}", "{place} → {direction}"),
    "j_stay": ("stay in {place}, {dwell} s", "estancia en {place}, {dwell} s"),
    "j_born": ("began inside", "empezó dentro"),
    "j_ended": ("ended inside", "terminó dentro"),
    "j_track": ("seen for {seconds} s", "visto durante {seconds} s"),
    "j_id": ("track {id}", "trayectoria {id}"),
    "j_score": ("mean score {score}", "puntuación media {score}"),
    "j_crop": ("{name}, track {id}", "{name}, trayectoria {id}"),
    "j_confirmed": ("confirmed", "confirmado"),
    "j_rejected": ("rejected", "rechazado"),
    "j_open": ("open", "pendiente"),
    "j_confirm": ("Confirm", "Confirmar"),
    "j_reject": ("Reject", "Rechazar"),
    "j_undo": ("Undo", "Deshacer"),
    "j_next": ("Next", "Siguiente"),
    "j_previous": ("Previous", "Anterior"),
    "j_nothing": ("Nothing matches these filters.", "Nada coincide con estos filtros."),
    "j_choose": ("Choose an event or a track.", "Elija un evento o una trayectoria."),
    "j_no_video": (
        "There is no annotated video: `yolo-engine render` draws it.",
        "No hay vídeo anotado: `yolo-engine render` lo dibuja.",
    ),
    "j_cant_play": (
        "This browser can't play the annotated video, or it no longer lies beside this page: {src}",
        "Este navegador no puede reproducir el vídeo anotado, o ya no está junto a esta página: {src}",
    ),
    "j_progress": (
        "{confirmed} confirmed, {rejected} rejected, {open} open",
        "confirmados: {confirmed}; rechazados: {rejected}; pendientes: {open}",
    ),
    "j_loaded": (
        "{count} verdicts loaded, {other} of another run.",
        "Veredictos cargados: {count}; de otra ejecución: {other}.",
    ),
    "j_bad_file": ("This is not a file of verdicts.", "No es un archivo de veredictos."),
    "j_video_of": ("Annotated video of {name}", "Vídeo anotado de {name}"),
}

_EDITOR: dict[str, tuple[str, str]] = {
    "scene_title": ("Draw a scene", "Dibujar una escena"),
    "scene_noscript": (
        "Scripts are switched off: nothing can be drawn without them.",
        "Los scripts están desactivados: sin ellos no se puede dibujar.",
    ),
    "scene_draw": ("Draw", "Dibujar"),
    "scene_tool": ("What is drawn", "Qué se dibuja"),
    "scene_ignore": ("Ignored region", "Región ignorada"),
    "scene_map": ("Map point", "Punto del mapa"),
    "scene_finish": ("Finish shape", "Terminar forma"),
    "scene_back": ("Remove point", "Quitar punto"),
    "scene_how": (
        "Click to set points; a double click, Enter or the button finishes a shape. Drag a point to move it. By key:"
        " arrows move the cross (with Shift further), space sets a point, Backspace removes the last.",
        "Haga clic para poner puntos; doble clic, Intro o el botón terminan una forma. Arrastre un punto para moverlo."
        " Con teclas: las flechas mueven la cruz (con Mayús más), espacio pone un punto, Retroceso quita el último.",
    ),
    "scene_frame": ("The scene without those who pass", "La escena sin quienes pasan"),
    "scene_area": ("Drawing area", "Área de dibujo"),
    "scene_shapes": ("Shapes", "Formas"),
    "scene_camera": (
        "`camera` says which videos the scene is for: a glob over their path below the input folder.",
        "`camera` indica para qué vídeos vale la escena: un glob sobre su ruta bajo la carpeta de entrada.",
    ),
    "scene_copy": ("Copy", "Copiar"),
    "scene_download": ("Download", "Descargar"),
    "scene_then": ("Then:", "Después:"),
    # Texts of its script.
    "s_line": ("line", "línea"),
    "s_zone": ("zone", "zona"),
    "s_ignore": ("ignored region", "región ignorada"),
    "s_map": ("map", "mapa"),
    "s_name": ("name", "nombre"),
    "s_anchor": ("anchor", "ancla"),
    "s_classes": ("classes", "clases"),
    "s_loiter": ("alert if a stay lasts, s", "avisar si la estancia dura, s"),
    "s_turn": ("Turn round", "Invertir"),
    "s_remove": ("Remove", "Quitar"),
    "s_copied": ("Copied.", "Copiado."),
    "s_drawing": ("{kind}: {count} points", "{kind}: {count} puntos"),
    "s_done": ("{name} is drawn.", "{name}: dibujado."),
    "s_few": ("{name} needs {count} points or more.", "{name} necesita {count} puntos o más."),
    "s_no_name": ("A name has 1 to 100 characters.", "Un nombre tiene de 1 a 100 caracteres."),
    "s_no_camera": ("camera must not be empty.", "camera no puede estar vacío."),
    "s_twice": ("{name}: this name is there twice.", "{name}: este nombre está dos veces."),
    "s_bad_loiter": (
        "{name}: a stay is reported after more than 0 and at most 86400 seconds.",
        "{name}: de una estancia se avisa tras más de 0 y hasta 86400 segundos.",
    ),
    "s_same": ("{name}: in and out must be words that differ.", "{name}: in y out deben ser palabras distintas."),
}

WORDS: Mapping[str, tuple[str, str]] = {**_COMMON, **_REPORT, **_SCRIPT, **_EDITOR}


class Words:
    """The texts of one language, and its number format."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._place = LANGUAGES.index(language)

    def __call__(self, key: str, *values: object, **named: object) -> str:
        """Return a text with values inserted. Raises KeyError for an unknown key."""
        return WORDS[key][self._place].format(*values, **named)

    def some(self, key: str, number: int, shown: str = "") -> str:
        """Return the singular or plural text for `number`, written as `shown` if given."""
        return self(f"count_{key}" if number == 1 else f"count_{key}_many", n=shown or self.number(number))

    def class_name(self, name: str) -> str:
        """Return the name of a class in the language of the page; a name unknown to it unchanged."""
        return SPANISH_NAMES.get(name, name) if self.language == "es" else name

    def of_scripts(self, prefix: str = "j_") -> dict[str, str]:
        """Return the texts of scripts by key, with `{name}` where they insert values."""
        return {key: text[self._place] for key, text in WORDS.items() if key.startswith(prefix)}

    def number(self, value: float, decimals: int = 0) -> str:
        """Format a number for the language."""
        text = f"{value:,.{decimals}f}"
        return text if self.language == "en" else text.translate(str.maketrans(",.", ".,"))

    def digits(self, text: str) -> str:
        """Replace the decimal point by the language's if the text is a number; otherwise return it unchanged."""
        return text.replace(".", ",") if self.language == "es" and text.replace(".", "", 1).isdecimal() else text

    def duration(self, seconds: float) -> str:
        """Format a duration: 45 s, 12 min 30 s, 3 h 05 min."""
        if seconds < 60:
            return f"{self.number(seconds, 1 if seconds < 10 and seconds % 1 else 0)} s"
        minutes, rest = divmod(round(seconds), 60)
        if minutes < 60:
            return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
        return f"{self.number(minutes // 60)} h {minutes % 60:02} min"
