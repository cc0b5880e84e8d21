// A drawing is a list of strokes, a stroke a list of points [x, y] in fractions of the pad.
"use strict";

const at = id => document.getElementById(id);
const pad = at("pad");
const limits = { most_classes: 20, most_drawings: 5 };

let strokes = []; // on the pad
let classes = []; // {name, drawings}, in the order of the page
let taught = null; // the character that got the last drawing
let result = null; // probabilities of the classes for the pad
const silence = "The server does not answer. Start it again, then draw on.";
let asking = false, askAgain = false;
let version = 0; // increases when a request no longer fits what is on the page

// Drawing

function paint(canvas, drawing, fitted) {
  const side = Math.round(canvas.clientWidth * devicePixelRatio);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, side, side);
  const points = drawing.flat();
  if (!points.length) return;
  const box = fitted ? frame(points) : { left: 0, top: 0, size: 1 };
  const place = ([x, y]) => [(x - box.left) / box.size * side, (y - box.top) / box.size * side];
  context.lineWidth = side * (fitted ? 0.06 : 0.035);
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = getComputedStyle(canvas).color;
  for (const stroke of drawing) {
    context.beginPath();
    context.moveTo(...place(stroke[0]));
    for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) context.lineTo(...place(point));
    context.stroke();
  }
}

function frame(points) { // the square around a drawing, with a margin, as the network is shown it
  const [xs, ys] = [0, 1].map(axis => points.map(point => point[axis]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const size = Math.max(right - left, bottom - top, 0.1) / 0.66;
  return { left: (left + right - size) / 2, top: (top + bottom - size) / 2, size };
}

function pointOf(event) {
  const box = pad.getBoundingClientRect();
  const inside = value => Math.round(1e4 * Math.min(Math.max(value, 0), 1)) / 1e4;
  return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
}

let pointer = null; // the finger, pen or mouse that draws; all others are ignored

pad.addEventListener("pointerdown", event => {
  if (pointer !== null || event.button !== 0) return;
  event.preventDefault();
  document.activeElement.blur();
  pointer = event.pointerId;
  pad.setPointerCapture(pointer);
  strokes.push([pointOf(event)]);
  drawn();
});

pad.addEventListener("pointermove", event => {
  if (event.pointerId !== pointer) return;
  const stroke = strokes.at(-1);
  for (const part of event.getCoalescedEvents?.() ?? [event]) {
    const [point, last] = [pointOf(part), stroke.at(-1)];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) > 0.004) stroke.push(point);
  }
  drawn();
});

for (const kind of ["pointerup", "pointercancel"]) {
  pad.addEventListener(kind, event => { if (event.pointerId === pointer) pointer = null; });
}

function drawn() {
  show();
  ask();
}

// Recognition

async function ask() {
  if (!strokes.length || classes.length < 2) return;
  if (asking) {
    askAgain = true;
    return;
  }
  asking = true;
  askAgain = false;
  const asked = version;
  const task = { classes: classes.map(each => each.drawings), query: strokes };
  try {
    const reply = await fetch("recognise", { method: "POST", body: JSON.stringify(task) });
    const found = await reply.json();
    if (asked === version) result = found;
  } catch {
    if (asked === version) result = { error: silence };
  }
  asking = false;
  show();
  if (askAgain) ask();
}

function changed() { // what was asked before is of no use
  version += 1;
  result = null;
  show();
  ask();
}

function wipe() {
  strokes = [];
  pointer = null;
  changed();
}

// Characters

function add(target) {
  target.drawings.push(strokes);
  taught = target;
  wipe();
}

function addNew() {
  classes.push({ name: freeName(), drawings: [] });
  add(classes.at(-1));
}

const isFull = each => each.drawings.length >= limits.most_drawings;
const unfinished = () => classes.includes(taught) && !isFull(taught) ? taught : null;

function remove(target, drawing) {
  target.drawings = target.drawings.filter(other => other !== drawing);
  classes = classes.filter(each => each.drawings.length);
  changed();
}

function freeName() {
  const names = new Set(classes.map(each => each.name));
  return [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].find(letter => !names.has(letter));
}

// The page

function show() {
  const ready = strokes.length > 0;
  paint(pad, strokes, false);
  at("hint").hidden = ready;
  at("undo").disabled = at("wipe").disabled = !ready;
  const noMore = !ready || classes.length >= limits.most_classes;
  at("new").disabled = noMore;
  at("keep").disabled = unfinished() ? !ready : noMore;
  at("keep").textContent = unfinished() ? `Add to ${unfinished().name}` : `New character ${freeName()}`;
  at("forget").disabled = !classes.length;
  showClasses();
  showAnswer();
}

function showClasses() {
  const [list, shape] = [at("classes"), at("class").content];
  while (list.children.length > classes.length) list.lastChild.remove();
  while (list.children.length < classes.length) list.append(shape.cloneNode(true).firstElementChild);
  const best = winner();
  classes.forEach((each, number) => {
    const row = list.children[number];
    const name = row.querySelector(".name");
    if (name !== document.activeElement) name.value = each.name;
    name.setAttribute("aria-label", `Name of character ${number + 1}`);
    name.oninput = () => { each.name = name.value; show(); };
    const button = row.querySelector(".add");
    button.disabled = !strokes.length || isFull(each);
    button.setAttribute("aria-label", `Add the drawing to ${each.name}`);
    button.onclick = () => add(each);
    const probability = result?.probabilities?.[number];
    row.classList.toggle("first", number === best);
    row.querySelector(".percent").textContent = probability === undefined ? "" : percent(probability);
    row.querySelector(".bar i").style.width = `${100 * (probability ?? 0)}%`;
    showDrawings(row.querySelector(".drawings"), each);
  });
}

function showDrawings(place, each) {
  if (place.shown === each.drawings && place.count === each.drawings.length) return;
  [place.shown, place.count] = [each.drawings, each.drawings.length];
  place.replaceChildren();
  each.drawings.forEach((drawing, number) => {
    const [button, canvas] = [document.createElement("button"), document.createElement("canvas")];
    button.title = "Remove this drawing";
    button.setAttribute("aria-label", `Remove drawing ${number + 1} of ${each.name}`);
    button.onclick = () => remove(each, drawing);
    button.append(canvas);
    place.append(button);
    paint(canvas, drawing, true);
  });
  for (let empty = each.drawings.length; empty < limits.most_drawings; empty++) place.append(document.createElement("i"));
}

function winner() {
  const all = result?.probabilities;
  return all ? all.indexOf(Math.max(...all)) : -1;
}

const percent = probability => `${Math.round(100 * probability)}\u00a0%`;

function showAnswer() {
  const [answer, best] = [at("answer"), winner()];
  answer.classList.toggle("wrong", Boolean(result?.error));
  if (best < 0) {
    answer.textContent = result?.error ?? advice();
  } else {
    const name = document.createElement("b");
    name.textContent = classes[best].name || "?";
    answer.replaceChildren(name, `with a probability of ${percent(result.probabilities[best])}`);
  }
  at("seen").hidden = best < 0;
  if (best >= 0) at("seen").querySelector("img").src = result.seen;
}

function advice() {
  const last = classes.at(-1);
  if (!last) return strokes.length ? "Add it as the first character." : "Draw any character.";
  if (strokes.length) return classes.length < 2 ? `Add it to ${last.name}, or as a new character.` : "";
  if (unfinished()) return `Draw ${taught.name} again: ${taught.drawings.length} of ${limits.most_drawings}. Fewer will do.`;
  return classes.length < 2 ? "Now draw another character." : "Draw one of them, or one that is new.";
}

// Start

at("undo").onclick = () => { strokes.pop(); changed(); };
at("wipe").onclick = wipe;
at("keep").onclick = () => { unfinished() ? add(taught) : addNew(); };
at("new").onclick = addNew;
at("forget").onclick = () => { classes = []; wipe(); };

function repaint() {
  for (const place of document.querySelectorAll(".drawings")) place.shown = null;
  show();
}
addEventListener("resize", repaint);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

fetch("run").then(reply => reply.json()).then(found => {
  at("run").textContent = `The network: ${found.made_by}.`;
  Object.assign(limits, found);
  show();
}).catch(() => {
  result = { error: silence };
  show();
});
show();
