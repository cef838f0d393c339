"use strict";
// Motions as stick figures that can be turned, scrubbed and played. Poses are in axes right, down
// and ahead (metres), level where a motion says how its camera stood in them. `share` says how much
// of that stand is in the view: all of it at first, so that the view is what the camera saw.

const VIEW = { yaw: 0, pitch: 0, share: 1, zoom: 1 };
const LEVEL = { pitch: 0, roll: 0 };
const PANEL = { width: 210, tallest: 380, aspect: 1.2 };
const EYE_DISTANCE = 4; // in figure radii: a mild perspective

function decodeValues(layer) {
  const bytes = Uint8Array.from(atob(layer.data), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(bytes.length / 2);
  for (let k = 0; k < values.length; k++) {
    const whole = view.getInt16(2 * k, true);
    values[k] = whole === -32768 ? NaN : whole * layer.step;
  }
  return values;
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

class MotionViewer {
  constructor(figure, motion) {
    this.figure = figure;
    this.motion = motion;
    this.layers = motion.layers.map((layer) => ({ ...layer, values: decodeValues(layer) }));
    this.truth = this.layers.find((layer) => layer.role === "truth") || null;
    this.image = motion.image ? { ...motion.image, values: decodeValues(motion.image) } : null;
    this.shown = new Set(this.layers.map((layer) => layer.role));
    if (this.image) this.shown.add("image");
    this.view = { ...VIEW };
    this.frame = 0;
    this.speed = 1;
    this.overlaid = false;
    this.shadow = this.truth !== null;
    this.playing = false;
    this.measure();
    this.build();
    this.listen();
    this.recolour();
  }

  // Extent of the motion: radius about the origin and the height of the floor (y down), and the
  // square of the image that holds all of the 2D.
  measure() {
    let radius = 0.5, floor = -Infinity;
    for (const { values } of this.layers) {
      for (let k = 0; k < values.length; k += 3) {
        const reach = Math.hypot(values[k], values[k + 1], values[k + 2]);
        if (reach > radius) radius = reach;
        if (values[k + 1] > floor) floor = values[k + 1];
      }
    }
    this.radius = radius;
    this.floor = Number.isFinite(floor) ? floor : 0;
    if (this.image) this.image.square = this.squareOf(this.image.values);
  }

  squareOf(values) {
    const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
    for (let k = 0; k < values.length; k++) {
      if (values[k] < low[k % 2]) low[k % 2] = values[k];
      if (values[k] > high[k % 2]) high[k % 2] = values[k];
    }
    const size = Math.max(high[0] - low[0], high[1] - low[1]);
    if (!(size > 0 && size < 1.6)) return { middle: [0, 0], half: 1, whole: true };
    const middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
    return { middle, half: 0.55 * size, whole: false };
  }

  build() {
    const about = `${this.motion.title}: 3D motion. Arrow keys turn it, space plays and pauses, ` +
      "comma and full stop step, plus and minus zoom, R resets the view.";
    this.canvas = element("canvas", { tabindex: "0", role: "img", "aria-label": about });
    this.play = element("button", { type: "button", class: "play" }, "Play");
    this.slider = element("input", {
      type: "range", min: "0", max: String(this.motion.frames - 1), value: "0", "aria-label": "frame",
    });
    this.clock = element("output", {});
    this.rate = element("select", { "aria-label": "speed" });
    for (const speed of [0.25, 0.5, 1, 2]) {
      const option = element("option", { value: String(speed) }, `${speed}×`);
      option.selected = speed === 1;
      this.rate.append(option);
    }
    const first = element("div", { class: "controls" }, this.play, this.slider, this.clock, this.rate);
    const second = element("div", { class: "controls" }, ...this.toggles(), ...this.buttons());
    this.figure.append(this.canvas, first, second);
  }

  toggles() {
    const made = this.layers.map((layer) => this.toggle(layer.label, this.shown.has(layer.role),
      (on) => this.show(layer.role, on), layer.role));
    if (this.image) made.push(this.toggle("2D input", true, (on) => this.show("image", on)));
    if (this.truth) {
      made.push(this.toggle("truth as shadow", true, (on) => { this.shadow = on; this.draw(); }));
    }
    made.push(this.toggle("overlaid", false, (on) => this.overlay(on)));
    return made;
  }

  toggle(text, checked, act, role) {
    const box = element("input", { type: "checkbox" });
    box.checked = checked;
    box.addEventListener("change", () => act(box.checked));
    const label = element("label", {}, box, text);
    if (role) label.insertBefore(this.swatch(role), label.lastChild);
    return label;
  }

  // The colour of a motion where motions are overlaid.
  swatch(role) {
    const made = element("span", { class: "swatch", "aria-hidden": "true" });
    made.style.background = `var(--${role})`;
    return made;
  }

  buttons() {
    const make = (text, label, act) => {
      const button = element("button", { type: "button", "aria-label": label }, text);
      button.addEventListener("click", act);
      return button;
    };
    return [
      make("+", "zoom in", () => this.zoom(1.2)),
      make("−", "zoom out", () => this.zoom(1 / 1.2)),
      make("Camera view", "reset the view to the camera's", () => this.reset()),
      make("From the side", "view from the side", () => this.turnTo(-Math.PI / 2, 0)),
      make("From above", "view from above", () => this.turnTo(0, Math.PI / 2)),
    ];
  }

  listen() {
    this.play.addEventListener("click", () => this.setPlaying(!this.playing));
    this.slider.addEventListener("input", () => { this.setPlaying(false); this.go(+this.slider.value); });
    this.rate.addEventListener("change", () => { this.speed = +this.rate.value; this.mark(); });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("pointerdown", (event) => {
      this.drag = { x: event.clientX, y: event.clientY };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!this.drag) return;
      this.turn((this.drag.x - event.clientX) * 0.01, (event.clientY - this.drag.y) * 0.01);
      this.drag = { x: event.clientX, y: event.clientY };
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => { this.drag = null; });
    }
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return; // the plain wheel scrolls the page
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * 0.002));
    }, { passive: false });
    new ResizeObserver(() => this.draw()).observe(this.figure);
    new IntersectionObserver((seen) => {
      if (!seen[0].isIntersecting) this.setPlaying(false);
    }).observe(this.figure);
    for (const query of ["(prefers-color-scheme: dark)", "print"]) {
      matchMedia(query).addEventListener("change", () => this.recolour());
    }
  }

  key(event) {
    const step = 0.12;
    const acts = {
      ArrowLeft: () => this.turn(step, 0), ArrowRight: () => this.turn(-step, 0),
      ArrowUp: () => this.turn(0, -step), ArrowDown: () => this.turn(0, step),
      " ": () => this.setPlaying(!this.playing), ",": () => this.go(this.frame - 1),
      ".": () => this.go(this.frame + 1), "+": () => this.zoom(1.2), "=": () => this.zoom(1.2),
      "-": () => this.zoom(1 / 1.2), r: () => this.reset(), R: () => this.reset(),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  show(role, on) {
    if (on) this.shown.add(role); else this.shown.delete(role);
    this.draw();
  }

  overlay(on) {
    this.overlaid = on;
    this.figure.classList.toggle("overlaid", on);
    this.draw();
  }

  turn(yaw, pitch) {
    this.turnTo(this.view.yaw + yaw, this.view.pitch + pitch, this.view.share);
  }

  turnTo(yaw, pitch, share = 0) {
    Object.assign(this.view, { yaw, pitch: Math.max(-Math.PI, Math.min(Math.PI, pitch)), share });
    this.draw();
  }

  // How far a panel is turned: by the user, and by the stand of the camera of its first layer.
  stand(layer) {
    const { yaw, pitch, share } = this.view;
    const camera = layer.camera || LEVEL;
    const whole = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, pitch + share * camera.pitch));
    return { yaw, pitch: whole, roll: share * camera.roll };
  }

  zoom(factor) {
    this.view.zoom = Math.max(0.3, Math.min(6, this.view.zoom * factor));
    this.draw();
  }

  reset() { this.view = { ...VIEW }; this.draw(); }

  go(frame) {
    const frames = this.motion.frames;
    this.frame = ((frame % frames) + frames) % frames;
    this.mark();
    this.draw();
  }

  mark() { this.since = { time: performance.now(), frame: this.frame }; }

  setPlaying(on) {
    if (on === this.playing) return;
    this.playing = on;
    this.play.textContent = on ? "Pause" : "Play";
    this.mark();
    if (on) requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    if (!this.playing) return;
    const passed = Math.max(0, now - this.since.time) / 1000;
    const frame = (this.since.frame + Math.floor(passed * this.motion.rate_hz * this.speed)) %
      this.motion.frames;
    if (frame !== this.frame) { this.frame = frame; this.draw(); }
    requestAnimationFrame((later) => this.tick(later));
  }

  recolour() {
    const names = ["left", "right", "middle", "grid", "ghost", "ink", "soft", "line",
      ...this.layers.map((layer) => layer.role)];
    this.colours = Object.fromEntries(names.map((name) => [name, colourOf(name)]));
    this.draw();
  }

  // What is drawn side by side: {title, layers, image}.
  panels() {
    const layers = this.layers.filter((layer) => this.shown.has(layer.role));
    const panels = [];
    if (this.image && this.shown.has("image")) panels.push({ title: "2D input", image: this.image });
    if (this.overlaid && layers.length) panels.push({ title: "overlaid", layers });
    if (!this.overlaid) for (const layer of layers) panels.push({ title: layer.label, layers: [layer] });
    return panels;
  }

  draw() {
    const width = this.canvas.clientWidth;
    if (!width) return;
    const panels = this.panels();
    const columns = Math.max(1, Math.min(panels.length, Math.floor(width / PANEL.width) || 1));
    const rows = Math.max(1, Math.ceil(panels.length / columns));
    const wide = width / columns;
    const tall = Math.min(PANEL.tallest, wide * PANEL.aspect);
    const dots = window.devicePixelRatio || 1;
    this.canvas.style.height = `${rows * tall}px`;
    this.canvas.width = Math.round(width * dots);
    this.canvas.height = Math.round(rows * tall * dots);
    const context = this.canvas.getContext("2d");
    context.setTransform(dots, 0, 0, dots, 0, 0);
    context.clearRect(0, 0, width, rows * tall);
    panels.forEach((panel, k) => {
      const box = { x: (k % columns) * wide, y: Math.floor(k / columns) * tall, wide, tall };
      context.save();
      context.beginPath();
      context.rect(box.x, box.y, wide, tall);
      context.clip();
      if (panel.image) this.drawImage(context, box, panel.image);
      else this.drawFigures(context, box, panel.layers);
      this.drawTitle(context, box, panel);
      context.restore();
    });
    this.slider.value = String(this.frame);
    this.slider.setAttribute("aria-valuetext", `frame ${this.frame + 1} of ${this.motion.frames}`);
    const seconds = (this.frame / this.motion.rate_hz).toFixed(2);
    this.clock.textContent = `frame ${this.frame + 1}/${this.motion.frames} · ${seconds} s`;
  }

  drawTitle(context, box, panel) {
    context.font = "600 13px system-ui, sans-serif";
    context.textBaseline = "top";
    let left = box.x + 10;
    const parts = this.overlaid && panel.layers
      ? panel.layers.map((layer) => [layer.label, this.colours[layer.role]])
      : [[panel.title, this.colours.ink]];
    for (const [text, colour] of parts) {
      context.fillStyle = colour;
      context.fillText(text, left, box.y + 8);
      left += context.measureText(text).width + 12;
    }
    context.font = "12px system-ui, sans-serif";
    let top = box.y + 26;
    for (const layer of panel.layers || []) {
      const error = this.errorInMm(layer);
      if (error === null) continue;
      const text = this.overlaid ? `${layer.label}: ${error.toFixed(0)} mm` : `${error.toFixed(0)} mm`;
      context.fillStyle = this.colours.soft;
      context.fillText(text, box.x + 10, top);
      top += 16;
    }
    if (panel.image || this.overlaid) return;
    context.fillStyle = this.colours.left;
    context.fillText("left", box.x + 10, box.y + box.tall - 20);
    context.fillStyle = this.colours.right;
    context.fillText("right", box.x + 40, box.y + box.tall - 20);
  }

  // Mean distance from the truth's joints in this frame; null where there is no truth.
  errorInMm(layer) {
    if (!this.truth || layer === this.truth) return null;
    const start = this.frame * this.motion.joints * 3;
    let sum = 0;
    for (let k = start; k < start + this.motion.joints * 3; k += 3) {
      const [a, b] = [layer.values, this.truth.values];
      sum += Math.hypot(a[k] - b[k], a[k + 1] - b[k + 1], a[k + 2] - b[k + 2]);
    }
    return Number.isFinite(sum) ? (1000 * sum) / this.motion.joints : null;
  }

  // A point (m) as [screen x, screen y, depth, magnification] of a panel.
  project(box, x, y, z) {
    const { yaw, pitch, roll } = box.stand;
    const zoom = this.view.zoom;
    const across = Math.cos(yaw) * x + Math.sin(yaw) * z;
    const ahead = -Math.sin(yaw) * x + Math.cos(yaw) * z;
    const down = Math.cos(pitch) * y + Math.sin(pitch) * -ahead;
    const away = Math.cos(pitch) * ahead + Math.sin(pitch) * y;
    const size = EYE_DISTANCE / Math.max(0.4, EYE_DISTANCE + away / this.radius);
    const scale = (zoom * size * Math.min(1.25 * box.wide, box.tall) * 0.44) / this.radius;
    const right = Math.cos(roll) * across + Math.sin(roll) * down;
    const below = Math.cos(roll) * down - Math.sin(roll) * across;
    return [box.x + box.wide / 2 + scale * right, box.y + box.tall * 0.52 + scale * below, away,
      zoom * size];
  }

  drawFigures(context, box, layers) {
    box.stand = this.stand(layers[0]);
    this.drawGrid(context, box);
    if (this.shadow && !this.overlaid && layers[0] !== this.truth) {
      this.drawBones(context, box, this.truth, () => this.colours.ghost, 0.8);
    }
    for (const layer of layers) {
      const paint = this.overlaid ? () => this.colours[layer.role] : (side) => this.colours[side];
      this.drawBones(context, box, layer, paint, 1);
    }
  }

  drawGrid(context, box) {
    const reach = Math.max(1, Math.ceil(this.radius * 2) / 2);
    context.strokeStyle = this.colours.grid;
    context.lineWidth = 0.7;
    context.beginPath();
    for (let line = -reach; line <= reach + 1e-6; line += 0.5) {
      for (const [from, to] of [[[line, -reach], [line, reach]], [[-reach, line], [reach, line]]]) {
        context.moveTo(...this.project(box, from[0], this.floor, from[1]).slice(0, 2));
        context.lineTo(...this.project(box, to[0], this.floor, to[1]).slice(0, 2));
      }
    }
    context.stroke();
  }

  drawBones(context, box, layer, paint, opacity) {
    const { joints, bones } = this.motion;
    const start = this.frame * joints * 3;
    const points = [];
    for (let joint = 0; joint < joints; joint++) {
      const k = start + 3 * joint;
      points.push(this.project(box, layer.values[k], layer.values[k + 1], layer.values[k + 2]));
    }
    const far = (bone) => points[bone[0]][2] + points[bone[1]][2];
    const thick = Math.max(2, Math.min(box.wide, box.tall) / 75) * (opacity < 1 ? 0.7 : 1);
    context.lineCap = "round";
    context.globalAlpha = opacity;
    for (const [from, to, side] of [...bones].sort((a, b) => far(b) - far(a))) {
      const [a, b] = [points[from], points[to]];
      if (!Number.isFinite(a[0] + b[0])) continue;
      context.strokeStyle = paint(side);
      context.lineWidth = (thick * (a[3] + b[3])) / 2;
      context.beginPath();
      context.moveTo(a[0], a[1]);
      context.lineTo(b[0], b[1]);
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  // The 2D pose, enlarged to the part of the image it moves in; beside it, which part that is.
  drawImage(context, box, image) {
    const side = Math.min(box.wide, box.tall - 40) * 0.46;
    const centre = [box.x + box.wide / 2, box.y + 18 + box.tall / 2];
    const { middle, half, whole } = image.square;
    context.strokeStyle = this.colours.line;
    context.lineWidth = 1;
    context.strokeRect(centre[0] - side, centre[1] - side, 2 * side, 2 * side);
    if (!whole) this.drawPlace(context, [centre[0] + side - 25, centre[1] + side - 25], image.square);
    const start = this.frame * image.joints * 2;
    const at = (joint) => [0, 1].map((axis) =>
      centre[axis] + (side / half) * (image.values[start + 2 * joint + axis] - middle[axis]));
    context.lineCap = "round";
    context.lineWidth = 2;
    for (const [from, to, name] of image.bones) {
      const [a, b] = [at(from), at(to)];
      if (!Number.isFinite(a[0] + a[1] + b[0] + b[1])) continue;
      context.strokeStyle = this.colours[name];
      context.beginPath();
      context.moveTo(...a);
      context.lineTo(...b);
      context.stroke();
    }
  }

  // A small square for the larger side of the image, with the part that is shown.
  drawPlace(context, centre, { middle, half }) {
    const small = 20;
    context.fillStyle = this.colours.grid;
    context.fillRect(centre[0] + small * (middle[0] - half), centre[1] + small * (middle[1] - half),
      2 * small * half, 2 * small * half);
    context.strokeStyle = this.colours.soft;
    context.strokeRect(centre[0] - small, centre[1] - small, 2 * small, 2 * small);
  }
}

function startViewers() {
  let started = 0;
  for (const figure of document.querySelectorAll("figure.viewer")) {
    const data = document.getElementById(figure.dataset.motion);
    new MotionViewer(figure, JSON.parse(data.textContent));
    started += 1;
  }
  document.documentElement.dataset.viewers = String(started);
}

startViewers();
