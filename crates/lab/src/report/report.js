/* Draws the two plots from the numbers in the page, for the strategies that are chosen. */
'use strict';

const report = JSON.parse(document.getElementById('numbers').textContent);
const chosen = document.getElementById('chosen');
const COLOURS = ['--data-2', '--data-4', '--data-5', '--data-3', '--data-1', '--data-6'];
const FIRST_SHOWN = [
  'doorbuster-embedded', 'redis-lua', 'redis-lua-queue', 'conditional-update',
  'pessimistic-lock', 'redis-lock-fenced',
];
const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]];

const plain = report.results.filter((result) => result.faults === report.results[0].faults);
const levels = [...new Set(plain.map((result) => result.level))].sort((a, b) => a - b);
const ids = [...new Set(plain.map((result) => result.strategy))];

// Maps each chosen strategy to a number, which determines the colour and the dash of its line. The
// numbers 0 to 5 have different colours. After the visitor deselects a strategy, another strategy
// can get its number.
const shown = new Map();

function choose(id) {
  const taken = new Set(shown.values());
  let at = 0;
  while (taken.has(at)) at += 1;
  shown.set(id, at);
}

ids.filter((id) => FIRST_SHOWN.includes(id) || ids.length <= 8).forEach(choose);
if (shown.size === 0) ids.slice(0, 6).forEach(choose);

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function style(id) {
  const at = shown.get(id);
  return {
    name: COLOURS[at % COLOURS.length],
    dash: DASHES[Math.floor(at / COLOURS.length) % DASHES.length],
  };
}

// Returns one value of a strategy at a level: the median of `read(result)` over the seeds.
function value(id, level, read) {
  const found = plain.filter((result) => result.strategy === id && result.level === level);
  const values = found.map(read).sort((a, b) => a - b);
  return values.length > 0 ? values[Math.floor((values.length - 1) / 2)] : null;
}

const plots = [];

function draw(into, label, read) {
  const series = [...shown.keys()].map((id) => ({
    label: id,
    stroke: colour(style(id).name),
    dash: style(id).dash,
    width: 2,
    points: { size: 7 },
  }));
  const axis = {
    stroke: colour('--color-text-soft'),
    grid: { stroke: colour('--color-line') },
    ticks: { stroke: colour('--color-line') },
  };
  const options = {
    width: Math.max(280, into.clientWidth),
    height: 320,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false, distr: 3, log: 2 }, y: { distr: 3 } },
    axes: [
      { ...axis, label: 'buyers at the same time', splits: () => levels,
        values: (_, splits) => splits },
      { ...axis, label, size: 70, values: (_, splits) => splits.map((v) => (v === null ? '' : String(v))) },
    ],
    series: [{ label: 'level' }, ...series],
  };
  // A logarithmic scale cannot show 0, so the plot leaves out values of 0.
  const line = (id) => levels.map((level) => value(id, level, read) || null);
  return new uPlot(options, [levels, ...[...shown.keys()].map(line)], into);
}

function redraw() {
  plots.splice(0).forEach((plot) => plot.destroy());
  if (shown.size === 0) return;
  plots.push(draw(document.getElementById('throughput'), 'buyers answered per second',
    (result) => result.throughput_per_second));
  plots.push(draw(document.getElementById('latency'), 'p99 in milliseconds',
    (result) => result.latency_ms.p99));
}

const SVG = 'http://www.w3.org/2000/svg';

function drawKey(key, id) {
  key.replaceChildren();
  if (!shown.has(id)) return;
  const line = document.createElementNS(SVG, 'path');
  line.setAttribute('d', 'M0 4H32');
  line.setAttribute('stroke-dasharray', style(id).dash.join(' '));
  line.style.stroke = `var(${style(id).name})`;
  key.append(line);
}

for (const id of ids) {
  const label = document.createElement('label');
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.checked = shown.has(id);
  const key = document.createElementNS(SVG, 'svg');
  key.setAttribute('class', 'key');
  key.setAttribute('viewBox', '0 0 32 8');
  key.setAttribute('aria-hidden', 'true');
  box.addEventListener('change', () => {
    if (box.checked) choose(id); else shown.delete(id);
    drawKey(key, id);
    redraw();
  });
  drawKey(key, id);
  label.append(box, key, id);
  chosen.append(label);
}
redraw();
window.addEventListener('resize', redraw);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
