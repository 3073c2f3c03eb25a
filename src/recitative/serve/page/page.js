"use strict";
// The page uses the API like any client: GET /health, /models, /songs, /audio, and POST /predict.
const NONCE = document.currentScript.nonce;
const QUADRANTS = {
  Q1: ["high arousal, positive valence", 1, 1], Q2: ["high arousal, negative valence", 1, 0],
  Q3: ["low arousal, negative valence", 0, 0], Q4: ["low arousal, positive valence", 0, 1],
};
const ROW = { arousal: 20, valence: 150 }, HIGH = 110; // top of each row of the curves, in a box of 1000 x 260
const STEP = 5; // s, of an arrow key
const SPOKEN = 10; // s between two sentences to a screen reader while a song plays
const TRAIL = 4; // s of the path behind the point
const reduced = matchMedia("(prefers-reduced-motion: reduce)");
const panels = [];
const songs = new Map(); // by key: {title, language, listeners, blob()}
let limits, models;

const percent = (p) => `${Math.round(100 * p)}\u00a0%`;
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
const colour = (quadrant) => getComputedStyle(document.documentElement).getPropertyValue(`--${quadrant}`).trim();
const middle = (emotion) => (emotion.start + emotion.end) / 2;

async function ask(address, options) {
  const response = await fetch(address, options).catch(() => { throw Error("The server does not answer. Is it still running?"); });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({ detail: `The server answered ${response.status}.` }));
  throw Error(problem.detail);
}

/** What is between two segments lies on the line between them; t in s. */
function emotionAt(timeline, t) {
  const after = timeline.findIndex((one) => middle(one) > t);
  if (after <= 0) return timeline[after < 0 ? timeline.length - 1 : 0];
  const [a, b] = [timeline[after - 1], timeline[after]];
  const w = (t - middle(a)) / (middle(b) - middle(a));
  const mix = (name) => (1 - w) * a[name] + w * b[name];
  return { ...(w < 0.5 ? a : b), arousal: mix("arousal"), valence: mix("valence") };
}

/** Stretches of one quadrant: [{quadrant, start, end}], which meet halfway between two segments. */
function stretches(answer) {
  const found = [];
  answer.timeline.forEach((one, i) => {
    const last = found.at(-1);
    const end = i + 1 < answer.timeline.length ? (middle(one) + middle(answer.timeline[i + 1])) / 2 : answer.seconds;
    if (last?.quadrant === one.quadrant) last.end = end;
    else found.push({ quadrant: one.quadrant, start: last?.end ?? 0, end });
  });
  return found;
}

function draw(parent, name, attributes, text) {
  const mark = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) mark.setAttribute(key, value);
  if (text) mark.textContent = text;
  parent.append(mark);
  return mark;
}

class Panel {
  constructor(before) {
    this.root = document.querySelector("template").content.firstElementChild.cloneNode(true);
    this.root.panel = this;
    for (const name of ["song", "model", "problem", "notice", "result", "play", "seek", "clock", "tracks", "wave",
      "curves", "cursor", "legend", "plane", "now", "summary", "spoken"]) this[name] = this.root.querySelector(`.${name}`);
    document.querySelector("main").append(this.root);
    this.fill(before?.model.value);
    this.player = WaveSurfer.create({ container: this.wave, height: 90, cursorWidth: 0, normalize: true, cspNonce: NONCE, interact: false });
    this.player.on("play", () => this.started());
    this.player.on("pause", () => this.paused());
    this.player.on("finish", () => this.paused());
    this.play.addEventListener("click", () => this.player.playPause());
    this.seek.addEventListener("input", () => this.goto(Number(this.seek.value)));
    this.tracks.addEventListener("click", (event) => {
      const box = this.tracks.getBoundingClientRect();
      this.goto(this.length * (event.clientX - box.left) / box.width);
    });
    this.song.addEventListener("change", () => this.load());
    this.model.addEventListener("change", () => this.load());
    const file = this.root.querySelector("input[type=file]");
    file.addEventListener("change", () => file.files.length && this.take(file.files[0]));
    this.root.addEventListener("dragover", (event) => { event.preventDefault(); this.root.classList.add("over"); });
    this.root.addEventListener("dragleave", () => this.root.classList.remove("over"));
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      this.root.classList.remove("over");
      if (event.dataTransfer.files.length) this.take(event.dataTransfer.files[0]);
    });
    new ResizeObserver(() => this.paint()).observe(this.wave);
    this.load(before?.song.value);
  }

  fill(chosen) {
    this.listSongs();
    for (const one of models) {
      const text = `${one.model}${one.alias ? ` (${one.alias})` : ""}: ${one.language} music, ${one.arch}`;
      this.model.append(new Option(text, one.model));
    }
    const other = models.find((one) => one.model !== chosen); // there is something to compare
    const first = models.find((one) => one.alias === "champion") ?? models[0];
    this.model.value = chosen ? (other ?? first).model : first.model;
  }

  listSongs() {
    const chosen = this.song.value, groups = new Map();
    this.song.replaceChildren();
    for (const [key, song] of songs) {
      if (!groups.has(song.from)) {
        groups.set(song.from, document.createElement("optgroup"));
        groups.get(song.from).label = song.from;
        this.song.append(groups.get(song.from));
      }
      groups.get(song.from).append(new Option(song.title, key));
    }
    if (chosen) this.song.value = chosen;
  }

  take(file) {
    const key = `${file.name} ${file.size} ${file.lastModified}`;
    songs.set(key, { title: file.name, from: "Your files", listeners: null, blob: async () => file });
    for (const panel of panels) panel.listSongs();
    return this.load(key);
  }

  /** Hear the chosen song with the chosen model; a later choice makes this one void. */
  async load(key) {
    if (key) this.song.value = key;
    const turn = this.turn = (this.turn ?? 0) + 1, song = songs.get(this.song.value);
    this.player.pause();
    this.problem.hidden = true;
    if (!song) return;
    this.root.setAttribute("aria-busy", "true");
    this.spoken.textContent = "Predicting.";
    try {
      const blob = await song.blob();
      if (blob.size > limits.megabytes * 1e6) throw Error(`The file is too large; at most ${limits.megabytes} MB are taken.`);
      const query = new URLSearchParams({ model: this.model.value, name: song.title });
      const answer = await (await ask(`predict?${query}`, { method: "POST", body: blob })).json();
      if (turn !== this.turn) return;
      this.result.hidden = false; // the waveform needs a width
      [this.answer, this.heard, this.length] = [answer, this.song.value, answer.seconds];
      await this.player.loadBlob(blob).then(() => { this.length = this.player.getDuration(); }, () => {
        this.fail("This browser cannot play the file. The prediction is shown without sound.");
      });
      if (turn === this.turn) this.tell(song);
    } catch (error) {
      if (turn !== this.turn) return;
      this.result.hidden = true;
      this.answer = null;
      this.fail(error.message);
      this.spoken.textContent = "";
    } finally {
      if (turn === this.turn) this.root.removeAttribute("aria-busy");
    }
  }

  fail(text) {
    this.problem.textContent = text;
    this.problem.hidden = false;
  }

  tell(song) {
    const { whole } = this.answer, model = models.find((one) => one.model === this.answer.model);
    const parts = stretches(this.answer);
    const changes = parts.length > 6 ? `${parts.length - 1} changes of quadrant.`
      : parts.map((one) => `${one.quadrant} from ${clock(one.start)}`).join(", ") + ".";
    const people = song.listeners;
    const said = people ? ` Of ${people.count} listeners, ${percent(people.arousal)} rated arousal as high and `
      + `${percent(people.valence)} rated valence as positive.` : "";
    this.summary.textContent = `${song.title}, heard by ${this.answer.model}: ${whole.quadrant}, ${QUADRANTS[whole.quadrant][0]} `
      + `(probability ${percent(whole.probabilities[whole.quadrant])}); arousal high ${percent(whole.arousal)}, `
      + `valence positive ${percent(whole.valence)}.${said} ${changes}`;
    this.spoken.textContent = this.summary.textContent;
    const notes = [];
    if (model?.synthetic) notes.push("Synthetic: this model learnt from generated songs. Use it to check the installation, not to draw conclusions.");
    if (people || song.from !== "Your files") notes.push("This song may have been among those that the model learnt from.");
    this.notice.textContent = notes.join(" ");
    this.notice.hidden = !notes.length;
    this.seek.max = this.length;
    this.paint();
    this.drawCurves(people, Number(model?.networks));
    this.drawPlane(people);
    this.show(0);
  }

  /** The waveform in the colours of the quadrants. */
  paint() {
    if (!this.answer || !this.wave.clientWidth) return;
    const width = this.wave.clientWidth * Math.max(1, devicePixelRatio);
    const gradient = document.createElement("canvas").getContext("2d").createLinearGradient(0, 0, width, 0);
    for (const one of stretches(this.answer)) {
      for (const end of [one.start, one.end]) gradient.addColorStop(Math.min(1, Math.max(0, end / this.length)), colour(one.quadrant));
    }
    this.player.setOptions({ waveColor: gradient, progressColor: gradient });
  }

  drawCurves(people, networks) {
    this.curves.replaceChildren();
    const { timeline } = this.answer, x = (one) => 1000 * middle(one) / this.length;
    for (const [name, top] of Object.entries(ROW)) {
      const y = (p) => top + HIGH * (1 - p), at = (p) => (one) => `${x(one).toFixed(1)},${y(p(one)).toFixed(1)}`;
      draw(this.curves, "rect", { class: "field", x: 0, y: top, width: 1000, height: HIGH });
      draw(this.curves, "line", { class: "middle", x1: 0, x2: 1000, y1: y(0.5), y2: y(0.5) });
      const low = timeline.map(at((one) => one[`${name}_range`][0])), high = timeline.map(at((one) => one[`${name}_range`][1]));
      draw(this.curves, "polygon", { class: "range", points: [...low, ...high.reverse()].join(" ") });
      draw(this.curves, "polyline", { class: "line", points: timeline.map(at((one) => one[name])).join(" ") });
      if (people) draw(this.curves, "line", { class: "listeners", x1: 0, x2: 1000, y1: y(people[name]), y2: y(people[name]) });
    }
    const entries = Object.entries(QUADRANTS).map(([name, [text]]) => [name, `${name}: ${text}`]);
    entries.push(["mean", "probability, 0 to 1"]);
    if (networks > 1) entries.push(["networks", `lowest to highest of ${networks} networks`]);
    if (people) entries.push(["people", `share of ${people.count} listeners`]);
    this.legend.replaceChildren(...entries.map(([name, text]) => Object.assign(document.createElement("li"), { className: name, textContent: text })));
  }

  drawPlane(people) {
    const { timeline, whole } = this.answer, plane = this.plane;
    plane.replaceChildren();
    plane.setAttribute("aria-label", `Valence and arousal. ${this.summary.textContent}`);
    for (const [name, [, high, positive]] of Object.entries(QUADRANTS)) {
      draw(plane, "rect", { class: `part ${name}`, x: 50 * positive, y: 50 * (1 - high), width: 50, height: 50 });
      draw(plane, "text", { class: `name ${name}`, x: positive ? 98 : 2, y: high ? 7 : 97, "text-anchor": positive ? "end" : "start" }, name);
    }
    for (const [p, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
      draw(plane, "text", { x: 100 * p, y: 109, "text-anchor": anchor }, ["negative", "valence", "positive"][2 * p]);
      draw(plane, "text", { x: -100 * (1 - p), y: -6, transform: "rotate(-90)", "text-anchor": anchor }, ["low", "arousal", "high"][2 * p]);
    }
    const xy = (one) => `${(100 * one.valence).toFixed(1)},${(100 * (1 - one.arousal)).toFixed(1)}`;
    this.xy = xy;
    draw(plane, "polyline", { class: "path", points: timeline.map(xy).join(" ") });
    this.trail = draw(plane, "polyline", { class: "trail" });
    draw(plane, "circle", { class: "whole", cx: 100 * whole.valence, cy: 100 * (1 - whole.arousal), r: 4 });
    draw(plane, "text", { x: 0, y: 117 }, people ? "○ whole song   ◇ listeners" : "○ whole song");
    if (people) {
      const mark = draw(plane, "rect", { class: "people-mark", x: -3.5, y: -3.5, width: 7, height: 7 });
      mark.setAttribute("transform", `translate(${100 * people.valence} ${100 * (1 - people.arousal)}) rotate(45)`);
    }
    this.point = draw(plane, "circle", { class: "point", r: 3 });
  }

  /** Everything at t seconds: the cursor, the point and the words. */
  show(t) {
    if (!this.answer) return;
    const { timeline } = this.answer, shown = emotionAt(timeline, t), [cx, cy] = this.xy(shown).split(",");
    this.t = t;
    this.cursor.style.left = `${100 * t / this.length}%`;
    this.point.setAttribute("cx", cx);
    this.point.setAttribute("cy", cy);
    this.point.setAttribute("fill", colour(shown.quadrant));
    const behind = timeline.filter((one) => middle(one) > t - TRAIL && middle(one) < t).map(this.xy);
    this.trail.setAttribute("points", reduced.matches ? "" : [...behind, this.xy(shown)].join(" "));
    this.seek.value = t;
    this.seek.setAttribute("aria-valuetext", `${clock(t)} of ${clock(this.length)}, ${shown.quadrant}`);
    this.clock.textContent = `${clock(t)} / ${clock(this.length)}`;
    this.now.textContent = `At ${clock(t)}: ${shown.quadrant}, ${QUADRANTS[shown.quadrant][0]}. `
      + `Arousal high ${percent(shown.arousal)}, valence positive ${percent(shown.valence)}.`;
    if (this.player.isPlaying() && t - this.said > SPOKEN) this.speak();
  }

  speak() {
    this.said = this.t;
    this.spoken.textContent = this.now.textContent;
  }

  /** The panels that show the same song move with this one. */
  together(t) {
    for (const panel of panels) if (panel === this || panel.heard === this.heard) panel.show(Math.min(t, panel.length));
  }

  goto(t) {
    if (!this.answer) return;
    this.player.setTime(Math.min(Math.max(0, t), this.length));
    this.together(this.player.getCurrentTime());
    if (!this.player.isPlaying()) this.said = t;
  }

  started() {
    for (const panel of panels) if (panel !== this) panel.player.pause();
    [this.play.textContent, this.said] = ["Pause", this.player.getCurrentTime()];
    let last = -1;
    const step = () => {
      const t = this.player.getCurrentTime();
      if (!reduced.matches || Math.abs(t - last) >= 1) this.together(last = t); // else in steps of a second
      if (this.player.isPlaying()) requestAnimationFrame(step);
    };
    step();
  }

  paused() {
    this.play.textContent = "Play";
    if (!this.answer) return;
    const t = this.player.getCurrentTime();
    this.together(t);
    for (const panel of panels) if (panel !== this && panel.heard === this.heard && panel.answer) panel.player.setTime(t);
    this.speak();
  }
}

function keys(event) {
  if (event.target.closest("select, input:not(.seek), button, a") || event.ctrlKey || event.metaKey || event.altKey) return;
  const here = event.target.closest(".panel")?.panel; // where the focus is
  const panel = here ?? panels.find((one) => one.player.isPlaying()) ?? panels.find((one) => one.answer);
  if (!panel?.answer) return;
  if (event.key === " ") panel.player.playPause();
  else if (event.key === "ArrowLeft") panel.goto(panel.player.getCurrentTime() - STEP);
  else if (event.key === "ArrowRight") panel.goto(panel.player.getCurrentTime() + STEP);
  else return;
  event.preventDefault();
}

function compare(event) {
  const two = panels.length === 1, button = event.currentTarget;
  if (two) panels.push(new Panel(panels[0]));
  else {
    const [gone] = panels.splice(1);
    gone.turn += 1;
    gone.player.destroy();
    gone.root.remove();
  }
  document.querySelector("main").classList.toggle("two", two);
  button.textContent = two ? "Stop comparing" : "Compare with another model or song";
}

async function start() {
  let listed;
  try {
    [{ limits }, models, listed] = await Promise.all(["health", "models", "songs"].map(async (name) => (await ask(name)).json()));
  } catch (error) {
    document.querySelector("main").textContent = error.message;
    return;
  }
  for (const song of listed) {
    const label = song.quadrant ? `, ${song.quadrant}` : "";
    let got;
    songs.set(song.id, {
      title: `${song.id.split("/").at(-1)}${label}, ${song.group}`, from: `${song.language} songs of this project`, listeners: song.listeners,
      blob: () => got ??= ask(`audio?${new URLSearchParams({ song: song.id })}`).then((response) => response.blob()),
    });
  }
  panels.push(new Panel());
  document.querySelector("#compare").addEventListener("click", compare);
  document.addEventListener("keydown", keys);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const panel of panels) { panel.paint(); panel.show(panel.t ?? 0); }
  });
}
start();
