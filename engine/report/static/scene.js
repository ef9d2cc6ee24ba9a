"use strict";
// Lines, zones, ignored regions and map points, drawn on a frame with the mouse or by key; the scene file as TOML.
(() => {
  const find = (selector, within = document) => within.querySelector(selector);
  const page = JSON.parse(find("#page").textContent);
  const views = JSON.parse(find("#views").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const ANCHORS = ["bottom", "centre", "top", "top-left", "top-right", "bottom-left", "bottom-right"];
  const MIN_POINTS = { line: 2, zone: 3, ignore: 3, map: 4 };
  const say = (key, values = {}) =>
    page.words["s_" + key].replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const draw = (tag, attributes, into) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    into.append(element);
    return element;
  };

  const tools = find("#tools");
  const about = find("#about");
  const svg = find("#drawing");
  const frame = find("#frame");
  const canvas = find("#below");
  let view = null;
  let open = null; // the shape that is being drawn
  let chosen = null; // a shape
  let cursor = [0.5, 0.5]; // for who draws by key

  // -- scenes ----------------------------------------------------------------------------------------------------

  /** A scene file as shapes: what was given, or an empty one. */
  function sceneOf(table) {
    const shapes = [];
    for (const line of table.line || []) {
      shapes.push({ kind: "line", name: line.name, into: line.in ?? "in", out: line.out ?? "out", anchor: line.anchor ?? "bottom",
        classes: (line.classes || []).join(", "), points: line.points.map((point) => [...point]) });
    }
    for (const zone of table.zone || []) {
      shapes.push({ kind: "zone", name: zone.name, anchor: zone.anchor ?? "bottom", classes: (zone.classes || []).join(", "),
        loiter: String(zone.loiter_s ?? ""), points: zone.polygon.map((point) => [...point]) });
    }
    for (const each of table.ignore || []) shapes.push({ kind: "ignore", points: each.polygon.map((point) => [...point]) });
    if (table.map) {
      shapes.push({ kind: "map", points: table.map.image.map((point) => [...point]), metres: table.map.metres.map((point) => [...point]) });
    }
    return shapes;
  }

  views.forEach((each, place) => {
    each.shapes = sceneOf(each.scene || {});
    each.camera = each.scene?.camera ?? each.glob;
    each.margin = each.scene?.margin ?? 0.01;
    const option = make("option", "", each.name);
    option.value = place;
    tools.elements.video.append(option);
  });
  if (views.length < 2) tools.elements.video.parentElement.hidden = true;

  function choose(place) {
    view = views[place];
    open = chosen = null;
    const [width, height] = view.size;
    frame.src = view.image || "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
    frame.width = width;
    frame.height = height;
    find("#stage").style.maxWidth = `${(75 * width) / height}vh`; // all of it is in sight at once
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    about.elements.camera.value = view.camera;
    about.elements.margin.value = view.margin;
    tools.elements.paths.parentElement.hidden = !view.paths.length;
    tools.elements.paths.checked = Boolean(view.paths.length);
    paths();
    all();
  }

  // -- TOML ------------------------------------------------------------------------------------------------------

  /** A basic string of TOML 1.0: every character may stand in it, the unprintable ones escaped. */
  function quoted(text) {
    const escapes = { '"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r" };
    const safe = [...text].map((character) => {
      if (character in escapes) return escapes[character];
      const code = character.codePointAt(0);
      if (code >= 0xd800 && code <= 0xdfff) return "\ufffd"; // half a character is none
      return code < 32 || code === 127 || (code >= 128 && code < 160) ? "\\u" + code.toString(16).padStart(4, "0") : character;
    });
    return `"${safe.join("")}"`;
  }
  const number = (value, digits) => {
    const text = (Math.round(value * 10 ** digits) / 10 ** digits).toFixed(digits).replace(/(\.\d+?)0+$/, "$1");
    return text.startsWith("-0.0") && Number(text) === 0 ? "0.0" : text;
  };
  const listed = (points, digits = 4) => `[${points.map(([x, y]) => `[${number(x, digits)}, ${number(y, digits)}]`).join(", ")}]`;
  const names = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);

  function toml() {
    const lines = [`camera = ${quoted(view.camera)}`, `size = [${view.size.join(", ")}]`];
    if (Number(view.margin) !== 0.01) lines.push(`margin = ${number(Number(view.margin), 4)}`);
    for (const shape of view.shapes) {
      lines.push("", shape.kind === "map" ? "[map]" : `[[${shape.kind}]]`);
      if (shape.name !== undefined) lines.push(`name = ${quoted(shape.name)}`);
      if (shape.kind === "line") {
        lines.push(`points = ${listed(shape.points)}`, `in = ${quoted(shape.into)}`, `out = ${quoted(shape.out)}`);
      } else if (shape.kind === "map") lines.push(`image = ${listed(shape.points)}`, `metres = ${listed(shape.metres, 3)}`);
      else lines.push(`polygon = ${listed(shape.points)}`);
      if (shape.anchor && shape.anchor !== "bottom") lines.push(`anchor = ${quoted(shape.anchor)}`);
      if (shape.classes && names(shape.classes).length) lines.push(`classes = [${names(shape.classes).map(quoted).join(", ")}]`);
      if (shape.loiter?.trim()) lines.push(`loiter_s = ${number(Number(shape.loiter), 3)}`);
    }
    return lines.join("\n") + "\n";
  }

  /** What the engine would refuse, in words. */
  function faults() {
    const found = [];
    const seen = new Set();
    if (!view.camera) found.push(say("no_camera"));
    for (const shape of view.shapes) {
      const name = shape.name ?? say(shape.kind);
      if (shape.points.length < MIN_POINTS[shape.kind]) found.push(say("few", { name, count: MIN_POINTS[shape.kind] }));
      if (shape.name === undefined) continue;
      if (!shape.name || shape.name.length > 100) found.push(say("no_name"));
      if (seen.has(shape.name)) found.push(say("twice", { name }));
      seen.add(shape.name);
      if (shape.kind === "line" && (shape.into === shape.out || !shape.into || !shape.out)) found.push(say("same", { name }));
      if (shape.loiter?.trim() && !(Number(shape.loiter) >= 0.001 && Number(shape.loiter) <= 86400)) found.push(say("bad_loiter", { name }));
    }
    return found;
  }

  function text() {
    view.camera = about.elements.camera.value;
    view.margin = about.elements.margin.value;
    find("#toml").value = toml();
    find("#faults").textContent = faults().join(" ");
  }

  // -- drawing ---------------------------------------------------------------------------------------------------

  const pixel = ([x, y]) => [x * view.size[0], y * view.size[1]];

  /** An arrow in the middle of a line, to its right hand: where "in" leads. */
  function arrow(points, size) {
    const at = Math.floor((points.length - 2) / 2);
    const [[ax, ay], [bx, by]] = [pixel(points[at]), pixel(points[at + 1])];
    const long = Math.hypot(bx - ax, by - ay) || 1;
    const [rx, ry] = [-(by - ay) / long, (bx - ax) / long];
    const [fx, fy] = [(bx - ax) / long, (by - ay) / long];
    const [x, y] = [(ax + bx) / 2, (ay + by) / 2];
    const [tx, ty] = [x + rx * size * 3, y + ry * size * 3];
    const wing = (side) => `${tx - (rx - side * fx) * size},${ty - (ry - side * fy) * size}`;
    return { d: `M${x},${y}L${tx},${ty}M${wing(-1)}L${tx},${ty}L${wing(1)}`, tip: [tx + rx * size * 1.6, ty + ry * size * 1.6], back: [x - rx * size * 2, y - ry * size * 2] };
  }

  function all() {
    svg.textContent = "";
    // What is drawn beside the shapes is as large on every screen, whatever the frame's size.
    const shown = (pixels) => (pixels * view.size[0]) / (svg.clientWidth || view.size[0]);
    const unit = shown(9.5);
    const reach = shown(matchMedia("(pointer: coarse)").matches ? 22 : 11);
    const shapes = open ? [...view.shapes, open] : view.shapes;
    const words = [];
    for (const shape of shapes) {
      const points = shape.points.map(pixel).map((point) => point.join(",")).join(" ");
      const closed = (shape.kind === "zone" || shape.kind === "ignore") && shape !== open;
      const group = draw("g", { class: `shape ${shape.kind}${shape === chosen || shape === open ? " chosen" : ""}` }, svg);
      if (shape.kind !== "map") draw(closed ? "polygon" : "polyline", { class: shape.kind === "ignore" ? "ignored" : shape.kind, points }, group);
      const label = (text, at, className = "label") => text && words.push({ text, at, className, last: shape.kind === "zone" });
      if (shape.kind === "line" && shape.points.length > 1) {
        const { d, tip, back } = arrow(shape.points, unit);
        draw("path", { class: "arrow", d }, group);
        label(shape.into, tip, "label way");
        label(shape.out, back, "label way");
      }
      if (shape.name && shape.points.length) {
        const middle = [0, 1].map((axis) => shape.points.reduce((sum, point) => sum + point[axis], 0) / shape.points.length);
        const [x, y] = pixel(shape.points[0]);
        label(shape.name, shape.kind === "line" ? [x, y - unit * 1.2] : pixel(middle));
      }
      shape.points.forEach((point, place) => {
        const [x, y] = pixel(point);
        const handle = draw("circle", { class: "handle", cx: x, cy: y, r: unit * 0.7 }, group);
        // A thumb needs more than what is seen; while a shape is drawn, its next point may lie close to another one.
        const around = !open || (shape === open && !place && shape.kind !== "line" && shape.points.length >= MIN_POINTS[shape.kind]);
        const held = around ? [handle, draw("circle", { class: "reach", cx: x, cy: y, r: reach }, group)] : [handle];
        for (const each of held) Object.assign(each, { shape, place });
        if (shape.kind === "map") label(String(place + 1), [x, y - unit], "label");
      });
    }
    write(words, unit);
    if (document.activeElement === svg) {
      const [x, y] = pixel(cursor);
      draw("path", { class: "cursor", d: `M${x - unit},${y}H${x + unit}M${x},${y - unit}V${y + unit}` }, svg);
    }
    list();
    text();
  }

  /** Words at their places or, where others are, some lines above or below; those of zones come last. All of a word is in the frame. */
  function write(words, unit) {
    const [width, height] = view.size;
    const within = (value, low, high) => Math.min(Math.max(value, low), Math.max(high, low));
    const taken = [];
    const group = draw("g", { class: "words" }, svg); // above all points
    for (const { text, at, className } of [...words.filter((word) => !word.last), ...words.filter((word) => word.last)]) {
      const element = draw("text", { class: className, "font-size": unit * 1.6, "text-anchor": "middle" }, group);
      element.textContent = text;
      const half = Math.min(element.getComputedTextLength() / 2 + unit / 3, width / 2);
      const x = within(at[0], half, width - half);
      const places = [0, 1, -1, 2, -2, 3, -3, 4, -4].map((step) => within(at[1] + step * unit * 1.9, unit * 1.6, height - unit / 2));
      const free = places.find((y) => taken.every((other) => Math.abs(other.x - x) >= other.half + half || Math.abs(other.y - y) >= unit * 1.8));
      const y = free ?? places[0];
      taken.push({ x, y, half });
      element.setAttribute("x", x);
      element.setAttribute("y", y);
    }
  }

  function fresh(kind) {
    const shape = { kind, points: [] };
    if (kind === "line" || kind === "zone") {
      let count = 1;
      while (view.shapes.some((each) => each.name === `${say(kind)} ${count}`)) count += 1;
      Object.assign(shape, { name: `${say(kind)} ${count}`, anchor: "bottom", classes: "" });
    }
    if (kind === "line") Object.assign(shape, { into: "in", out: "out" });
    if (kind === "zone") shape.loiter = "";
    if (kind === "map") shape.metres = [];
    return shape;
  }

  function add(point) {
    const kind = tools.elements.tool.value;
    if (kind === "map") {
      let shape = view.shapes.find((each) => each.kind === "map");
      if (!shape) view.shapes.push((shape = fresh("map")));
      shape.points.push(point);
      shape.metres.push([0, 0]);
      chosen = shape;
      all();
      return;
    }
    if (!open) open = fresh(kind);
    const last = open.points.at(-1);
    if (last && last[0] === point[0] && last[1] === point[1]) return;
    open.points.push(point);
    find("#said").textContent = say("drawing", { kind: say(kind), count: open.points.length });
    all();
  }

  function finish() {
    if (!open) return;
    if (open.points.length < MIN_POINTS[open.kind]) {
      find("#said").textContent = say("few", { name: say(open.kind), count: MIN_POINTS[open.kind] });
      return;
    }
    view.shapes.push(open);
    chosen = open;
    open = null;
    find("#said").textContent = say("done", { name: chosen.name ?? say(chosen.kind) });
    all();
  }

  function back() {
    if (open) {
      open.points.pop();
      if (!open.points.length) open = null;
    }
    all();
  }

  function placeOf(event) {
    const box = svg.getBoundingClientRect();
    const within = (value) => Math.round(Math.min(1, Math.max(0, value)) * 10000) / 10000;
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  }

  let held = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    svg.focus({ preventScroll: true }); // else the place that was clicked is another one by then
    if (event.target.shape) {
      const { shape, place } = event.target;
      if (shape === open && place === 0 && open.points.length >= MIN_POINTS[open.kind] && open.kind !== "line") finish();
      else if (shape === open && place === open.points.length - 1 && event.detail > 1) finish();
      else {
        held = { shape, place };
        chosen = shape;
        svg.setPointerCapture(event.pointerId);
      }
      return;
    }
    if (event.detail > 1) finish();
    else add(placeOf(event));
  });
  svg.addEventListener("pointermove", (event) => {
    if (!held) return;
    held.shape.points[held.place] = placeOf(event);
    all();
  });
  svg.addEventListener("pointerup", () => {
    held = null;
  });
  svg.addEventListener("contextmenu", (event) => event.preventDefault());
  svg.addEventListener("focus", all);
  svg.addEventListener("blur", () => find(".cursor", svg)?.remove());
  svg.addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 0.05 : 0.005;
    const by = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
    if (by) cursor = cursor.map((value, axis) => Math.round(Math.min(1, Math.max(0, value + by[axis])) * 10000) / 10000);
    else if (event.key === " ") {
      add([...cursor]);
    } else if (event.key === "Enter") finish();
    else if (event.key === "Escape" || event.key === "Backspace") back();
    else return;
    event.preventDefault();
    all();
  });

  // -- the list of shapes ------------------------------------------------------------------------------------------

  function field(into, label, value, change, options) {
    const element = make("label", "", label + " ");
    const input = make(options ? "select" : "input");
    if (options) for (const each of options) input.append(make("option", "", each));
    else input.type = "text";
    input.value = value;
    input.addEventListener("input", () => {
      change(input.value);
      text();
      redraw();
    });
    element.append(input);
    into.append(element);
  }

  let redrawing = false;
  function redraw() { // shapes alone: the field that is typed into stays
    redrawing = true;
    all();
    redrawing = false;
  }

  function list() {
    if (redrawing) return;
    const into = find("#shapes");
    into.textContent = "";
    for (const shape of view.shapes) {
      const row = make("li", shape === chosen ? "chosen" : "");
      row.append(make("b", "", say(shape.kind) + " "));
      if (shape.name !== undefined) field(row, say("name"), shape.name, (value) => (shape.name = value));
      if (shape.kind === "line") {
        field(row, "in", shape.into, (value) => (shape.into = value));
        field(row, "out", shape.out, (value) => (shape.out = value));
        const turn = make("button", "", say("turn"));
        turn.type = "button";
        turn.addEventListener("click", () => {
          shape.points.reverse();
          all();
        });
        row.append(turn);
      }
      if (shape.anchor) {
        field(row, say("anchor"), shape.anchor, (value) => (shape.anchor = value), ANCHORS);
        field(row, say("classes"), shape.classes, (value) => (shape.classes = value));
      }
      if (shape.kind === "zone") field(row, say("loiter"), shape.loiter, (value) => (shape.loiter = value));
      if (shape.kind === "map") {
        shape.metres.forEach((metres, place) => {
          ["x", "y"].forEach((axis, at) => field(row, `${place + 1}: ${axis}, m`, metres[at], (value) => (metres[at] = Number(value) || 0)));
        });
      }
      const remove = make("button", "no", say("remove"));
      remove.type = "button";
      remove.setAttribute("aria-label", `${say("remove")}: ${shape.name ?? say(shape.kind)}`);
      remove.addEventListener("click", () => {
        view.shapes.splice(view.shapes.indexOf(shape), 1);
        chosen = null;
        all();
      });
      row.append(remove);
      into.append(row);
    }
  }

  // -- paths of an earlier run ---------------------------------------------------------------------------------------

  function paths() {
    canvas.width = 1280;
    canvas.height = Math.max(1, Math.round((1280 * view.size[1]) / view.size[0]));
    if (!tools.elements.paths.checked) return;
    const context = canvas.getContext("2d");
    context.strokeStyle = "#6aa9ff";
    context.lineWidth = 2;
    context.globalAlpha = Math.max(0.15, Math.min(0.9, 12 / Math.sqrt(view.paths.length + 1)));
    const whole = view;
    let at = 0;
    const piece = () => {
      if (view !== whole || !tools.elements.paths.checked) return;
      for (const until = Math.min(view.paths.length, at + 500); at < until; at += 1) {
        const path = view.paths[at];
        context.beginPath();
        for (let place = 0; place < path.length; place += 2) {
          context.lineTo((path[place] / 1000) * canvas.width, (path[place + 1] / 1000) * canvas.height);
        }
        context.stroke();
      }
      if (at < view.paths.length) requestAnimationFrame(piece);
    };
    piece();
  }

  // -- controls ------------------------------------------------------------------------------------------------------

  tools.addEventListener("submit", (event) => event.preventDefault());
  about.addEventListener("submit", (event) => event.preventDefault());
  about.addEventListener("input", text);
  tools.elements.video.addEventListener("change", () => choose(Number(tools.elements.video.value)));
  tools.elements.paths.addEventListener("change", paths);
  for (const radio of tools.elements.tool) {
    radio.addEventListener("change", () => {
      open = null;
      all();
    });
  }
  find("#finish").addEventListener("click", finish);
  find("#back").addEventListener("click", back);
  find("#download").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([toml()], { type: "application/toml" }));
    const anchor = make("a");
    anchor.href = address;
    anchor.download = views.length > 1 ? `${view.file}.toml` : "scene.toml";
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  });
  find("#copy").addEventListener("click", async () => {
    const area = find("#toml");
    try {
      await navigator.clipboard.writeText(area.value);
    } catch (error) { // from disk a page may not: what is chosen can be copied all the same
      area.select();
      document.execCommand("copy");
    }
    find("#copied").textContent = say("copied");
  });

  let width = 0;
  new ResizeObserver(() => {
    if (svg.clientWidth === width) return;
    width = svg.clientWidth;
    redraw();
  }).observe(svg);

  choose(0);
})();
