"use strict";
// The lists, maps, player and verdicts of a report. Texts are set as texts, never as HTML.
(() => {
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const page = JSON.parse(find("#page").textContent);
  const cameras = all("script.camera").map((element) => JSON.parse(element.textContent));
  if (!cameras.length) return;
  all("script.crops").forEach((element, place) => (cameras[place].crops = JSON.parse(element.textContent)));

  const UNITS = 1000; // of paths and boxes, a frame
  const CROSSING = 0;
  const say = (key, values = {}) =>
    page.words["j_" + key].replaceAll("`", "").replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
  const number = (value, digits = 0) =>
    value.toLocaleString(page.lang, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // -- rows as items ---------------------------------------------------------------------------------------------

  const clocks = new Map();
  function clock(zone) {
    if (!clocks.has(zone)) {
      const form = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone };
      clocks.set(zone, [
        new Intl.DateTimeFormat(page.lang, form),
        new Intl.DateTimeFormat(page.lang, { ...form, year: "numeric", month: "2-digit", day: "2-digit" }),
      ]);
    }
    return clocks.get(zone);
  }

  /** The time of day of a moment of a camera's timeline, or how far into it that is. */
  function time(camera, seconds, whole = false) {
    if (camera.zero !== null) return clock(camera.zone)[whole ? 1 : 0].format(camera.zero + seconds * 1000);
    const from = Math.max(0, Math.floor(seconds));
    const two = (value) => String(value).padStart(2, "0");
    return `${Math.floor(from / 3600)}:${two(Math.floor(from / 60) % 60)}:${two(from % 60)}`;
  }

  const items = { events: [], tracks: [] };
  cameras.forEach((camera, place) => {
    camera.number = place;
    camera.rows = camera.tracks.map((row) => {
      const [id, kind, first, last, score, video, x1, y1, x2, y2, path] = row;
      return { id, kind, first, last, score, video, box: [x1, y1, x2, y2], crop: camera.crops[id], path };
    });
    for (const track of camera.rows) {
      items.tracks.push({
        camera, track, place: -1, at: track.first, long: track.last - track.first, video: track.video,
        // A box is drawn from the frame that ends a track's first row on.
        second: track.first - camera.videos[track.video].at,
        key: JSON.stringify([camera.key, "track", track.id]),
      });
    }
    for (const [kind, at, of, where, way, dwell, ends, video, second, pts] of camera.events) {
      const key = camera.keys[where];
      items.events.push({
        camera, track: camera.rows[of], kind, at, place: where, way, long: dwell === null ? 0 : dwell, dwell, ends, video,
        second, pts,
        key: JSON.stringify([
          camera.key, kind === CROSSING ? "crossing" : "stay", camera.rows[of].id, key[0], way ? key[way] : "",
          camera.videos[video].key, pts,
        ]),
      });
    }
  });
  const byTime = (a, b) => a.camera.number - b.camera.number || a.at - b.at || a.track.id - b.track.id;
  items.events.sort(byTime);
  items.tracks.sort(byTime);

  function placeName(item) {
    const { lines, zones } = item.camera;
    return item.place < lines.length ? lines[item.place].name : zones[item.place - lines.length].name;
  }

  function what(item) {
    if (item.place < 0) return say("track", { seconds: number(item.long, 1) });
    if (item.kind !== CROSSING) return say("stay", { place: placeName(item), dwell: number(item.dwell, 1) });
    const line = item.camera.lines[item.place];
    return say("event", { place: line.name, direction: item.way === 1 ? line.in : line.out });
  }

  // -- verdicts --------------------------------------------------------------------------------------------------

  const store = "yolo-engine verdicts " + page.id;
  const verdicts = new Map();
  const known = new Map([...items.events, ...items.tracks].map((item) => [item.key, item]));
  try {
    for (const [key, verdict] of JSON.parse(localStorage.getItem(store) || "[]")) verdicts.set(key, verdict);
  } catch (error) {
    console.info("verdicts are not kept by this browser:", error.name);
  }

  function keep() {
    try {
      localStorage.setItem(store, JSON.stringify([...verdicts]));
    } catch (error) {
      console.info("verdicts are not kept by this browser:", error.name);
    }
  }

  function record(item, verdict) {
    const { camera, track } = item;
    const told = { verdict, camera: camera.key, track_id: track.id };
    if (item.place < 0) return { ...told, kind: "track" };
    const key = camera.keys[item.place];
    return {
      ...told,
      kind: item.kind === CROSSING ? "crossing" : "stay",
      place: key[0],
      direction: item.way ? key[item.way] : "",
      video: camera.videos[item.video].key,
      pts: item.pts,
      time_s: item.at,
    };
  }

  function keyOf(told) {
    if (told.kind === "track") return JSON.stringify([told.camera, "track", told.track_id]);
    return JSON.stringify([told.camera, told.kind, told.track_id, told.place, told.direction, told.video, told.pts]);
  }

  function save() {
    const told = [...verdicts].filter(([key]) => known.has(key)).map(([key, verdict]) => record(known.get(key), verdict));
    const text = JSON.stringify({ schema: 1, report: page.id, verdicts: told }, null, 1) + "\n";
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const anchor = make("a");
    anchor.href = address;
    anchor.download = `verdicts-${page.id}.json`;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  async function load(file) {
    let read;
    try {
      read = JSON.parse(await file.text());
      if (read.schema !== 1 || !Array.isArray(read.verdicts)) throw new TypeError("no verdicts");
    } catch (error) {
      find("#loaded").textContent = say("bad_file");
      return;
    }
    let count = 0;
    for (const told of read.verdicts) {
      const key = keyOf(told);
      if (known.has(key) && ["confirmed", "rejected"].includes(told.verdict)) {
        verdicts.set(key, told.verdict);
        count += 1;
      }
    }
    keep();
    find("#loaded").textContent = say("loaded", { count: number(count), other: number(read.verdicts.length - count) });
    apply();
  }

  // -- filters ---------------------------------------------------------------------------------------------------

  const form = find("#filters");
  const list = find("#list");
  const rows = find("#rows");
  let shown = [];
  let chosen = null;

  const LENGTHS = [10, 60, 300, 900, 3600];
  const spans = cameras.map((camera) => Math.max(0, ...camera.rows.map((track) => track.last)));
  const longest = spans.reduce((a, b) => Math.max(a, b), 0);
  const bucket = LENGTHS.find((length) => longest / length <= 24) || 3600;
  /** Of which stretch of time an item is: the same for all cameras that have a clock. */
  function stretch(item) {
    if (item.camera.zero === null) return "r" + Math.floor(Math.max(0, item.at) / bucket);
    return "w" + Math.floor((item.camera.zero / 1000 + item.at) / bucket);
  }

  function option(select, value, text) {
    const element = make("option", "", text);
    element.value = value;
    select.append(element);
  }

  function fillFilters() {
    cameras.forEach((camera, place) => option(form.elements.camera, String(place), camera.camera));
    page.classes.forEach((name, place) => {
      if (cameras.some((camera) => camera.rows.some((track) => track.kind === place))) {
        option(form.elements.class, String(place), name);
      }
    });
    const places = new Set();
    for (const camera of cameras) for (const each of [...camera.lines, ...camera.zones]) places.add(each.name);
    for (const name of places) option(form.elements.place, name, name);
    for (const name of ["open", "confirmed", "rejected"]) option(form.elements.verdict, name, say(name));
    const stretches = new Map();
    for (const item of items.tracks.concat(items.events)) {
      const key = stretch(item);
      if (!stretches.has(key)) stretches.set(key, item.camera);
    }
    const order = [...stretches].sort(([a], [b]) => (a[0] === b[0] ? Number(a.slice(1)) - Number(b.slice(1)) : a < b ? 1 : -1));
    for (const [key, camera] of order) {
      const from = Number(key.slice(1)) * bucket - (camera.zero === null ? 0 : camera.zero / 1000);
      option(form.elements.hour, key, `${time(camera, from, true)} – ${time(camera, from + bucket)}`);
    }
    if (!items.events.length) form.elements.kind.value = "tracks";
    if (cameras.length < 2) form.elements.camera.parentElement.hidden = true;
    if (!places.size) form.elements.place.parentElement.hidden = true;
  }

  function apply() {
    const wanted = Object.fromEntries(
      ["kind", "camera", "hour", "class", "place", "longer", "id", "verdict"].map((name) => [name, form.elements[name].value]),
    );
    const least = Number(wanted.longer) || 0;
    const id = wanted.id.trim();
    shown = items[wanted.kind].filter(
      (item) =>
        (wanted.camera === "" || item.camera.number === Number(wanted.camera)) &&
        (wanted.class === "" || item.track.kind === Number(wanted.class)) &&
        (wanted.place === "" || (item.place >= 0 && placeName(item) === wanted.place)) &&
        (wanted.hour === "" || stretch(item) === wanted.hour) &&
        (!least || (item.place >= 0 && item.kind === CROSSING ? item.track.last - item.track.first : item.long) >= least) &&
        (id === "" || String(item.track.id) === id) &&
        (wanted.verdict === "" || (verdicts.get(item.key) || "open") === wanted.verdict),
    );
    form.elements.place.disabled = wanted.kind === "tracks";
    find("#shown").textContent = shown.length
      ? say("shown", { shown: number(shown.length), all: number(items[wanted.kind].length) })
      : say("nothing");
    rows.style.height = shown.length * HEIGHT + "px";
    progress();
    draw(true);
  }

  function progress() {
    const counts = { confirmed: 0, rejected: 0 };
    const of = items[form.elements.kind.value];
    for (const item of of) {
      const verdict = verdicts.get(item.key);
      if (verdict) counts[verdict] += 1;
    }
    find("#progress").textContent = say("progress", {
      confirmed: number(counts.confirmed),
      rejected: number(counts.rejected),
      open: number(of.length - counts.confirmed - counts.rejected),
    });
  }

  // -- the list: only the rows in sight are there ------------------------------------------------------------------

  const HEIGHT = 60;
  const pool = new Map(); // place -> element
  let drawn = [0, 0];

  function draw(anew = false) {
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 4);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + 4);
    if (!anew && drawn[0] === first && drawn[1] === last) return;
    drawn = [first, last];
    const free = [];
    for (const [place, element] of pool) {
      if (anew || place < first || place >= last) {
        free.push(element);
        pool.delete(place);
      }
    }
    for (let place = first; place < last; place += 1) {
      if (!pool.has(place)) pool.set(place, fill(free.pop() || newRow(), place));
    }
    for (const element of free) element.remove();
    list.removeAttribute("aria-activedescendant");
    const at = shown.indexOf(chosen);
    if (pool.has(at)) list.setAttribute("aria-activedescendant", "row" + at);
  }

  function newRow() {
    const row = make("div", "row");
    row.setAttribute("role", "option");
    const [canvas, text] = [make("canvas"), make("div")];
    text.append(make("b"), make("small"));
    canvas.width = 152;
    canvas.height = 104;
    row.append(canvas, text, make("span", "mark"));
    rows.append(row);
    return row;
  }

  function fill(row, place) {
    const item = shown[place];
    row.id = "row" + place;
    row.dataset.place = place;
    row.style.transform = `translateY(${place * HEIGHT}px)`;
    row.setAttribute("aria-setsize", shown.length);
    row.setAttribute("aria-posinset", place + 1);
    row.setAttribute("aria-selected", item === chosen);
    find("b", row).textContent = what(item);
    const parts = [time(item.camera, item.at), page.classes[item.track.kind], say("id", { id: item.track.id })];
    if (cameras.length > 1) parts.push(item.camera.camera);
    find("small", row).textContent = parts.join(" · ");
    mark(row, item);
    picture(row, item);
    return row;
  }

  function mark(row, item) {
    const verdict = verdicts.get(item.key);
    row.className = verdict ? "row " + verdict : "row";
    const sign = row.lastChild;
    sign.textContent = verdict === "confirmed" ? "✓" : verdict === "rejected" ? "✗" : "";
    if (verdict) sign.setAttribute("aria-label", say(verdict));
    else sign.removeAttribute("aria-label");
  }

  // -- pictures: the track's crop, or where it was seen in the still -----------------------------------------------

  const figures = all(".map"); // in the order of the cameras
  const stills = figures.map((figure) => find("img.still", figure));

  function picture(row, item) {
    const canvas = find("canvas", row);
    let crop = find("img", row);
    if (item.track.crop) {
      if (!crop) {
        crop = make("img");
        crop.alt = "";
        row.prepend(crop);
      }
      crop.src = "data:image/jpeg;base64," + item.track.crop;
    } else if (crop) crop.remove();
    canvas.style.display = item.track.crop ? "none" : "";
    if (!item.track.crop) cut(canvas, item, 1.6);
  }

  function cut(canvas, item, around) {
    const context = canvas.getContext("2d");
    context.fillStyle = "#20242a";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const image = stills[item.camera.number];
    const [width, height] = item.camera.size;
    const [x1, y1, x2, y2] = item.track.box.map((value, at) => (value / UNITS) * (at % 2 ? height : width));
    const aspect = canvas.width / canvas.height;
    let high = Math.max((y2 - y1) * around, ((x2 - x1) * around) / aspect, height / 8);
    high = Math.min(high, height, width / aspect);
    const wide = high * aspect;
    const left = Math.min(Math.max(0, (x1 + x2 - wide) / 2), width - wide);
    const top = Math.min(Math.max(0, (y1 + y2 - high) / 2), height - high);
    const zoom = canvas.width / wide;
    if (image && image.complete && image.naturalWidth) {
      const scale = image.naturalWidth / width;
      context.drawImage(image, left * scale, top * scale, wide * scale, high * scale, 0, 0, canvas.width, canvas.height);
    }
    context.lineWidth = 3;
    context.strokeStyle = "#ffffff";
    context.strokeRect((x1 - left) * zoom, (y1 - top) * zoom, (x2 - x1) * zoom, (y2 - y1) * zoom);
    context.lineWidth = 1;
    context.strokeStyle = "#000000";
    context.strokeRect((x1 - left) * zoom + 2, (y1 - top) * zoom + 2, (x2 - x1) * zoom - 4, (y2 - y1) * zoom - 4);
  }

  // -- the chosen one: its video, path and verdict -------------------------------------------------------------------

  const player = find("#player");
  const still2 = find("#cut");
  const LEAD = 1; // seconds before an event, so that it is seen to happen
  let seekTo = null;

  function choose(item, { play = true } = {}) {
    chosen = item;
    const at = shown.indexOf(item);
    const top = at * HEIGHT;
    if (at >= 0 && (top < list.scrollTop || top + HEIGHT > list.scrollTop + list.clientHeight)) {
      list.scrollTop = Math.max(0, top - list.clientHeight / 2 + HEIGHT / 2);
    }
    draw();
    for (const [place, row] of pool) row.setAttribute("aria-selected", shown[place] === item);
    if (at >= 0) list.setAttribute("aria-activedescendant", "row" + at);
    highlight(item);
    tell(item);
    show(item, play);
  }

  function tell(item) {
    const facts = find("#facts");
    facts.textContent = "";
    for (const button of all("[data-do]")) button.disabled = !item && !["next", "previous"].includes(button.dataset.do);
    if (!item) {
      facts.append(make("p", "under", say("choose")));
      return;
    }
    const { camera, track } = item;
    const title = make("p");
    title.append(make("b", "", what(item)));
    facts.append(title);
    const parts = [time(camera, item.at, true), camera.camera, page.classes[track.kind], say("id", { id: track.id })];
    parts.push(say("score", { score: number(track.score / 100, 2) }), say("track", { seconds: number(track.last - track.first, 1) }));
    if (item.ends & 1) parts.push(say("born"));
    if (item.ends & 2) parts.push(say("ended"));
    facts.append(make("p", "under", parts.join(" · ")));
    facts.append(make("p", "under", camera.videos[item.video].name));
    facts.append(make("p", "", say(verdicts.get(item.key) || "open")));
    if (track.crop) {
      const crop = make("img", "crop");
      crop.alt = say("crop", { name: page.classes[track.kind], id: track.id });
      crop.src = "data:image/jpeg;base64," + track.crop;
      facts.prepend(crop);
    }
  }

  function show(item, play) {
    const video = item.camera.videos[item.video];
    const note = find("#unplayed");
    note.hidden = true;
    if (!video.src) {
      unplayed(item, say("no_video"));
      return;
    }
    seekTo = Math.max(0, item.second - video.offset - (item.place < 0 ? 0 : LEAD));
    const address = page.up + video.src;
    player.hidden = false;
    still2.hidden = true;
    player.setAttribute("aria-label", say("video_of", { name: video.name }));
    if (player.getAttribute("src") !== address) {
      player.src = address;
      player.load();
    } else if (player.readyState >= 1) seek();
    if (play && !still.matches) {
      const playing = player.play();
      if (playing) playing.catch(() => {}); // it could not begin: the error event says why, or the next choice came first
    } else player.pause();
  }

  function seek() {
    if (seekTo === null) return;
    player.currentTime = Math.min(seekTo, Number.isFinite(player.duration) ? player.duration : seekTo);
    seekTo = null;
  }
  player.addEventListener("loadedmetadata", seek);
  player.addEventListener("error", () => {
    if (chosen && player.getAttribute("src")) unplayed(chosen, say("cant_play", { src: player.getAttribute("src") }));
  });

  function unplayed(item, why) {
    player.hidden = true;
    player.pause();
    still2.hidden = false;
    cut(still2, item, 2.5);
    find("#unplayed").textContent = why;
    find("#unplayed").hidden = false;
  }

  // -- review ----------------------------------------------------------------------------------------------------

  function step(by) {
    if (!shown.length) return;
    const at = shown.indexOf(chosen);
    const next = at < 0 ? (by > 0 ? Math.min(drawn[0] ? drawn[0] + 4 : 0, shown.length - 1) : shown.length - 1) : at + by;
    if (next >= 0 && next < shown.length) choose(shown[next]);
  }

  function judge(verdict) {
    if (!chosen) return;
    if (verdict) verdicts.set(chosen.key, verdict);
    else verdicts.delete(chosen.key);
    keep();
    progress();
    const row = pool.get(shown.indexOf(chosen));
    if (row) mark(row, chosen);
    if (verdict) {
      const before = chosen;
      step(1);
      if (chosen === before) tell(chosen);
    } else tell(chosen);
  }

  const actions = {
    next: () => step(1),
    previous: () => step(-1),
    confirm: () => judge("confirmed"),
    reject: () => judge("rejected"),
    undo: () => judge(null),
  };
  const keys = { j: "next", ArrowDown: "next", k: "previous", ArrowUp: "previous", c: "confirm", r: "reject", u: "undo" };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    const inList = list.contains(target);
    if (target instanceof Element && target.closest("input, select, textarea, summary, a, video")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === " " && !target.closest("button") && chosen && !player.hidden) {
      if (player.paused) player.play().catch(() => {});
      else player.pause();
    } else if (inList && (key === "Home" || key === "End")) {
      if (shown.length) choose(shown[key === "Home" ? 0 : shown.length - 1]);
    } else if (key in keys && (inList || !key.startsWith("Arrow"))) actions[keys[key]]();
    else return;
    event.preventDefault();
  });
  for (const button of all("[data-do]")) {
    find("span", button).textContent = say(button.dataset.do);
    button.addEventListener("click", () => actions[button.dataset.do]());
  }
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row) choose(shown[Number(row.dataset.place)]);
  });
  let waiting = false;
  list.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }, { passive: true });
  new ResizeObserver(() => draw()).observe(list);
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(() => {
    if (!items.events.length) form.elements.kind.value = "tracks";
    apply();
  }));
  form.addEventListener("submit", (event) => event.preventDefault());
  find("#save").addEventListener("click", save);
  find("#load").addEventListener("change", (event) => {
    if (event.target.files[0]) load(event.target.files[0]);
    event.target.value = "";
  });

  // -- maps ------------------------------------------------------------------------------------------------------

  const maps = cameras.map((camera) => {
    const figure = figures[camera.number];
    return { camera, figure, canvas: find("canvas", figure), chosen: find(".chosen", figure), box: find(".box", figure), turn: 0, finish: () => {} };
  });

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return page.classes.map((name, place) => style.getPropertyValue("--c" + Math.min(place, 7)).trim());
  }

  const PIECE = 500; // paths that are drawn at once: a frame's time is not to be missed
  function paint(map) {
    const { camera, canvas, figure } = map;
    const on = (layer) => find(`[data-layer=${layer}]`, figure)?.checked;
    const turn = (map.turn += 1);
    map.finish = () => {};
    canvas.width = 1280;
    canvas.height = Math.max(1, Math.round((1280 * camera.size[1]) / camera.size[0]));
    const context = canvas.getContext("2d");
    figure.classList.toggle("hide-scene", on("scene") === false);
    if (on("heat") && camera.heat) heat(context, camera.heat, canvas);
    if (!on("paths")) return;
    const shades = colours();
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.globalAlpha = Math.max(0.12, Math.min(0.9, 12 / Math.sqrt(camera.rows.length + 1)));
    let at = 0;
    const piece = (count = PIECE) => {
      if (map.turn !== turn) return;
      const until = Math.min(camera.rows.length, at + count);
      for (; at < until; at += 1) {
        const { path, kind } = camera.rows[at];
        if (path.length < 4) continue;
        context.strokeStyle = shades[kind];
        context.beginPath();
        for (let place = 0; place < path.length; place += 2) {
          const x = (path[place] / UNITS) * canvas.width;
          const y = (path[place + 1] / UNITS) * canvas.height;
          if (place) context.lineTo(x, y);
          else context.moveTo(x, y);
        }
        context.stroke();
      }
      if (at < camera.rows.length) requestAnimationFrame(() => piece());
    };
    map.finish = () => piece(Infinity);
    piece();
  }

  function heat(context, table, canvas) {
    const [columns, lines] = table.cells;
    const seconds = new Float64Array(columns * lines);
    for (const cells of Object.values(table.classes)) {
      for (const [column, line, , dwell] of cells) seconds[line * columns + column] += dwell;
    }
    const most = seconds.reduce((a, b) => Math.max(a, b), 0) || 1;
    const small = make("canvas");
    small.width = columns;
    small.height = lines;
    const image = new ImageData(columns, lines);
    seconds.forEach((value, place) => {
      const share = Math.sqrt(value / most);
      image.data.set([255, Math.round(230 * (1 - share) ** 0.8), Math.round(60 * (1 - share)), value ? 60 + 160 * share : 0], 4 * place);
    });
    small.getContext("2d").putImageData(image, 0, 0);
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = true;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
  }

  function highlight(item) {
    for (const map of maps) {
      map.chosen.setAttribute("points", "");
      map.box.setAttribute("width", 0);
      if (!item || item.camera !== map.camera) continue;
      const [width, height] = map.camera.size;
      const { path, box } = item.track;
      const points = [];
      for (let place = 0; place < path.length; place += 2) {
        points.push(`${(path[place] / UNITS) * width},${(path[place + 1] / UNITS) * height}`);
      }
      map.chosen.setAttribute("points", points.join(" "));
      const [x1, y1, x2, y2] = box.map((value, at) => (value / UNITS) * (at % 2 ? height : width));
      for (const [name, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 })) map.box.setAttribute(name, value);
    }
  }

  // Maps are painted when they come into sight: a page may have a hundred.
  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      sight.unobserve(entry.target);
      paint(maps[figures.indexOf(entry.target)]);
    }
  }, { rootMargin: "200px" });
  for (const map of maps) {
    sight.observe(map.figure);
    map.figure.addEventListener("change", () => paint(map));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => maps.forEach((map) => paint(map)));

  // On paper, nothing is folded. What is painted already is not painted anew: Chromium prints a canvas that is cleared
  // by then as a white one.
  let unfolded = [];
  addEventListener("beforeprint", () => {
    for (const map of maps) {
      if (!map.turn) paint(map);
      map.finish();
    }
    unfolded = [...document.querySelectorAll("details:not([open])")];
    for (const details of unfolded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of unfolded) details.open = false;
  });
  stills.forEach((image) => image && !image.complete && image.addEventListener("load", () => draw(true)));

  fillFilters();
  tell(null);
  apply();
})();
