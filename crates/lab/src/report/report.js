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
const shown = new Set(ids.filter((id) => FIRST_SHOWN.includes(id) || ids.length <= 8));
if (shown.size === 0) ids.slice(0, 6).forEach((id) => shown.add(id));

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function style(id) {
  const at = ids.indexOf(id);
  return {
    name: COLOURS[at % COLOURS.length],
    dash: DASHES[Math.floor(at / COLOURS.length) % DASHES.length],
  };
}

function value(id, level, read) {
  const found = plain.find((result) => result.strategy === id && result.level === level);
  return found ? read(found) : null;
}

const plots = [];

function draw(into, label, read) {
  const series = [...shown].map((id) => ({
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
  const data = [levels, ...[...shown].map((id) => levels.map((level) => value(id, level, read)))];
  return new uPlot(options, data, into);
}

function redraw() {
  plots.splice(0).forEach((plot) => plot.destroy());
  if (shown.size === 0) return;
  const positive = (number) => (number > 0 ? number : null);
  plots.push(draw(document.getElementById('throughput'), 'buyers answered a second',
    (result) => positive(result.throughput_per_second)));
  plots.push(draw(document.getElementById('latency'), 'p99 in milliseconds',
    (result) => positive(result.latency_ms.p99)));
}

for (const id of ids) {
  const label = document.createElement('label');
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.checked = shown.has(id);
  box.addEventListener('change', () => {
    if (box.checked) shown.add(id); else shown.delete(id);
    redraw();
  });
  const key = document.createElement('span');
  key.className = 'key';
  key.style.background = `var(${style(id).name})`;
  label.append(box, key, id);
  chosen.append(label);
}
redraw();
window.addEventListener('resize', redraw);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
