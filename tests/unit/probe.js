// Listens, plays, seeks and compares as a person does; tells the test what it saw.
const complaints = [];
window.addEventListener("error", (event) => complaints.push(event.message || "a resource"), true);
window.addEventListener("unhandledrejection", (event) => complaints.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => complaints.push(`${event.violatedDirective} ${event.blockedURI}`));
console.error = console.warn = (...words) => complaints.push(words.join(" "));

const told = { complaints };
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
async function until(what) { while (!what()) await frame(); }
const ready = (panel) => panel?.answer && !panel.root.hasAttribute("aria-busy");
const cursor = (panel) => panel.length * parseFloat(panel.cursor.style.left) / 100;
const point = (panel) => [panel.point.getAttribute("cx"), panel.point.getAttribute("cy")].join();
const key = (name, where = document.body) => where.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
function drop(panel, file) {
  const data = new DataTransfer();
  data.items.add(file);
  panel.root.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}

async function look() {
  await until(() => ready(panels[0]));
  const [first] = panels, media = first.player.getMediaElement();
  told.song = first.song.selectedOptions[0].textContent;
  told.summary = first.summary.textContent;
  told.spoken = first.spoken.textContent;
  told.listeners = first.root.querySelectorAll(".listeners, .people-mark").length;
  told.bands = [...first.root.querySelectorAll(".range")].map((band) => band.getBoundingClientRect().height);
  told.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;

  first.play.click();
  await until(() => media.currentTime > 0.1);
  told.lags = [];
  told.points = [];
  for (let next = 0.2; told.lags.length < 10; next += 0.2) {
    await until(() => media.currentTime >= next);
    await frame();
    await new Promise((resolve) => setTimeout(resolve)); // after all that was drawn for this frame
    told.lags.push(Math.abs(media.currentTime - cursor(first)));
    told.points.push(point(first));
    told.trail = first.trail.getAttribute("points");
  }
  key(" ");
  await until(() => first.play.textContent === "Play");
  told.pausedAt = first.t - media.currentTime;
  told.said = first.spoken.textContent;

  const box = first.tracks.getBoundingClientRect();
  first.tracks.dispatchEvent(new MouseEvent("click", { clientX: box.left + box.width / 4, bubbles: true }));
  told.quarter = [media.currentTime / first.length, cursor(first) / first.length];
  key("ArrowLeft");
  told.left = media.currentTime;
  key("ArrowRight", first.seek);
  told.right = media.currentTime;
  first.seek.value = 1.5;
  first.seek.dispatchEvent(new Event("input"));
  told.slid = [media.currentTime, cursor(first), first.seek.getAttribute("aria-valuetext")];

  document.querySelector("#compare").click();
  await until(() => ready(panels[1]));
  told.models = panels.map((panel) => panel.answer.model);
  first.goto(2);
  told.together = panels.map(cursor);
  drop(panels[1], new File([await (await fetch("audio?song=music-eng%2Fmy%2Ftwo.wav")).blob()], "<i>mine.wav", { type: "audio/wav" }));
  await until(() => panels[1].summary.textContent.startsWith("<i>mine.wav"));
  told.lengths = panels.map((panel) => panel.length);
  drop(panels[1], new File(["la la"], "text.mp3", { type: "audio/mpeg" }));
  await until(() => !panels[1].problem.hidden);
  told.problem = [panels[1].problem.textContent, panels[1].result.hidden];
  document.querySelector("#compare").click();
  told.left_over = document.querySelectorAll(".panel").length;
  told.elsewhere = performance.getEntriesByType("resource").map((one) => one.name)
    .filter((name) => !name.startsWith(location.origin) && !name.startsWith("blob:"));
}
addEventListener("load", () => look().catch((error) => complaints.push(String(error.stack)))
  .then(() => fetch("told", { method: "POST", body: JSON.stringify(told) })));
