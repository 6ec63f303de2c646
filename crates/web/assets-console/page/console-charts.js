/* Charts over time, drawn with uPlot, and their data. The server sends no point for a step in which
   nothing changed. Such a step is zero in a chart of counts, and a gap in a chart of latencies. In
   a chart of levels, such a step has the level of the step before. */
import { api, brief, clock, html, seg, serverNow, t, useEffect, useRef, useState } from
  '/assets/console-kit.js';

let loading = null;
/** Loads uPlot when the first chart is drawn. */
function load() {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement('script');
    script.src = '/assets/uplot.js';
    script.onload = () => done(window.uPlot);
    script.onerror = failed;
    document.head.append(script);
  });
  return loading;
}

/** The maximum number of steps in one answer of the API. */
const STEPS_MAX = 3600;
/** Each repeated read begins with this many of the newest known steps, because they may have been
   incomplete. */
const OVERLAP = 5;
/** Charts end this many seconds before now, because all nodes have written their numbers up to
   then. */
const WRITTEN_SECS = 3;
/** To know the levels at the start of a period, the page also reads the points of this many seconds
   before the period. */
const LEVEL_SECS = 3500;

/** Reads the points of a period, with `from` and `to` in seconds since 1970, and `step` in seconds.
   `secs` replaces `from` and means the last `secs` seconds. Without `to`, the period ends now, and
   the newest steps are read repeatedly. */
export function useSeries(sale, { from, to, secs, step }) {
  const [state, set] = useState({ points: new Map(), to: 0, last: null, error: null });
  useEffect(() => {
    let ended = false;
    let timer = 0;
    let points = new Map();
    let next = from ?? Math.floor(serverNow() / 1000) - secs;
    // `last` is the newest point before the period. Its levels, such as the length of the queue,
    // still apply when the period begins.
    let [first, last] = [next, null];
    const readEarlier = async () => {
      const start = new Date((first - LEVEL_SECS) * 1000).toISOString();
      const path = `/v1/admin/sales/${seg(sale)}/series?step=1&from=${start}`;
      const { points } = await api.get(`${path}&to=${new Date(first * 1000 - 1).toISOString()}`);
      last = points.at(-1) ?? null;
      first = null;
    };
    const read = async () => {
      if (!document.hidden) {
        try {
          if (first) await readEarlier();
          const stop = to ?? Math.ceil(serverNow() / 1000) + 1;
          let [newest, end] = [0, 0];
          do {
            end = Math.min(stop, next + (STEPS_MAX - 1) * step);
            const path = `/v1/admin/sales/${seg(sale)}/series?step=${step}`
              + `&from=${new Date(next * 1000).toISOString()}`
              // Without `to`, the server returns points up to its present time.
              + (end === stop && !to ? '' : `&to=${new Date(end * 1000).toISOString()}`);
            const answer = await api.get(path);
            for (const point of answer.points) {
              points.set(Math.floor(Date.parse(point.at) / 1000), point);
            }
            newest = Math.floor(Date.parse(answer.to) / 1000);
            next = end === stop ? newest - OVERLAP * step : end;
          } while (!ended && end < stop);
          if (secs) {
            const old = [...points].filter(([at]) => at < newest - secs);
            last = old.at(-1)?.[1] ?? last;
            points = new Map([...points].filter(([at]) => at >= newest - secs));
          }
          if (!ended) set({ points, to: newest, last, error: null });
        } catch (error) {
          if (!ended) set(old => ({ ...old, error }));
        }
      }
      if (!ended && !to) timer = setTimeout(read, step === 1 ? 1000 : 10_000);
    };
    set({ points: new Map(), to: 0, last: null, error: null });
    read();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, [sale, step, secs, from, to]);
  return state;
}

/** Returns the steps' times, and functions that read a value for each step up to `shown`. For a
   step without a point, `of` returns `empty`, and `levelOf` returns the value of the point before.
   `last` is the newest point before the period. */
export function steps(points, { from, to, step, shown = to, last = null }) {
  const times = [];
  for (let at = from - (from % step); at < to; at += step) times.push(at);
  return {
    times,
    of: (read, empty = 0) =>
      times.map(at => (at > shown ? null : points.has(at) ? read(points.get(at)) : empty)),
    levelOf: read => {
      let point = last;
      return times.map(at => {
        point = points.get(at) ?? point;
        return at > shown || !point ? null : read(point);
      });
    },
  };
}

/** Returns the end of the newest step that all nodes have written. `to` is the end of the present
   step. */
export const writtenUntil = (to, step) => to - (step === 1 ? WRITTEN_SECS : step);

/** A line through a step with gaps on both sides is invisible, so the chart shows a point. */
export const loneSteps = line => line.flatMap((value, n) =>
  value != null && line[n - 1] == null && line[n + 1] == null ? [n] : []);

const ROWS_MAX = 300;
/** Returns the steps in which at least one line has a value other than zero, newest first. */
const listedSteps = (times, lines) =>
  times.flatMap((_, n) => (lines.some(([, , line]) => line[n]) ? [n] : []))
    .slice(-ROWS_MAX).reverse();

const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const HEIGHT = 180;
/** Distances between two marks on an axis of counts: 1, 2, 5, 10, 20, 50 and so on. */
const WHOLE_STEPS = Array.from({ length: 10 }, (_, n) => [1, 2, 5].map(digit => digit * 10 ** n))
  .flat();
/** If a chart covers at most this many seconds, its axis shows seconds. */
const SECONDS_SHOWN = 1200;
/** Adds to each line the lines before it, so that the areas lie on top of each other. */
function stacked(values) {
  const sums = [];
  return values.map((line, n) => {
    sums.push(line.map((value, at) =>
      value === null ? null : value + (n ? sums[n - 1][at] : 0)));
    return sums[n];
  });
}

/** The caller draws again when the colour scheme changes. */
function useScheme() {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const [scheme, set] = useState(dark.matches);
  useEffect(() => {
    const changed = () => set(dark.matches);
    dark.addEventListener('change', changed);
    return () => dark.removeEventListener('change', changed);
  }, []);
  return scheme;
}

function options({ lines, stack, whole, secs, width, moved }) {
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis = {
    stroke: color('--color-text-soft'),
    grid: { stroke: color('--color-line'), width: 1 },
    ticks: { show: false },
    font,
  };
  const label = at => clock(at * 1000).slice(0, secs <= SECONDS_SHOWN ? 8 : 5);
  const series = lines.map(([name, token], n) => ({
    label: name,
    stroke: color(token),
    // Without a line, an area that is only one step wide would be invisible.
    width: stack ? 1 : 1.75,
    fill: stack ? color(token) : n === 0 ? color(token) + '26' : undefined,
    points: {
      show: false,
      size: 5,
      filter: (plot, n) => (stack ? null : loneSteps(plot.data[n])),
    },
  }));
  return {
    width,
    height: HEIGHT,
    padding: [10, 26, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: 'sale' }, y: false, points: { size: 6 } },
    hooks: { setCursor: [plot => moved(plot.cursor.idx ?? null)] },
    scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.12)] } },
    axes: [
      { ...axis, grid: { show: false }, space: 76, size: 26, values: (_, at) => at.map(label) },
      {
        ...axis,
        size: 44,
        space: 34,
        values: (_, n) => n.map(brief),
        ...(whole && { incrs: WHOLE_STEPS }),
      },
    ],
    series: [{}, ...(stack ? series.reverse() : series)],
  };
}

/** `lines` has [label, CSS variable of the colour, values], and `times` has seconds since 1970. The
   legend shows the values of the step `shown`, or of the step that the operator chose with the
   pointer or the arrow keys. */
export function Chart({ title, times, lines, unit = '', stack = false, shown = times.length - 1 }) {
  const box = useRef(null);
  const chart = useRef(null);
  const [at, setAt] = useState(null);
  const scheme = useScheme();
  const values = lines.map(([, , line]) => line);
  const data = [times, ...(stack ? stacked(values).reverse() : values)];
  const newest = useRef(data);
  newest.current = data;
  const secs = times.length ? times.at(-1) - times[0] : 0;
  useEffect(() => {
    let ended = false;
    load().then(UPlot => {
      if (ended) return;
      const width = box.current.clientWidth;
      const setup = options({ lines, stack, whole: !unit, secs, width, moved: setAt });
      chart.current = new UPlot(setup, newest.current, box.current);
    });
    const fit = new ResizeObserver(() =>
      chart.current?.setSize({ width: box.current.clientWidth, height: HEIGHT }),
    );
    fit.observe(box.current);
    return () => {
      ended = true;
      fit.disconnect();
      chart.current?.destroy();
      chart.current = null;
    };
  }, [lines.map(([label]) => label).join(), scheme, secs <= SECONDS_SHOWN]);
  useEffect(() => {
    chart.current?.setData(data);
  }, [times, lines]);
  const index = at !== null && at < times.length ? at : shown;
  const number = n => (n == null ? '–' : brief(n) + unit);
  const when = times.length ? clock(times[index] * 1000) : '–';
  const spoken = lines.map(([label, , line]) => `${label} ${number(line[index])}`).join(', ');
  const keyed = event => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !chart.current) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(times.length - 1, index + by * (event.shiftKey ? 10 : 1)));
    const left = chart.current.valToPos(times[next], 'x');
    chart.current.setCursor({ left, top: HEIGHT / 2 });
    setAt(next);
  };
  const listed = listedSteps(times, lines);
  return html`<figure class="chart card">
    <figcaption class="chart__head"><h2>${title}</h2>
      <ul class="chart__keys">
        ${lines.map(([label, token, line]) => html`<li class=${'key key-' + token.slice(-1)}>
          ${label} <b>${number(line[index])}</b></li>`)}
        <li class="chart__at">${when}</li>
      </ul></figcaption>
    <div class="chart__box" ref=${box} role="img" tabindex="0" onKeyDown=${keyed}
      aria-label=${t('chart_now', { title, at: when, numbers: spoken })}></div>
    <details><summary>${t('as_table')}</summary>
      <div class="scroll" tabindex="0" role="region" aria-label=${title}><table class="grid">
        <thead><tr><th scope="col">${t('time')}</th>
          ${lines.map(([label]) => html`<th scope="col" class="end">${label}</th>`)}</tr></thead>
        <tbody>${listed.map(n => html`<tr key=${times[n]}><td>${clock(times[n] * 1000)}</td>
          ${lines.map(([, , line]) => html`<td class="end">${line[n] ?? '–'}</td>`)}</tr>`)}
          ${!listed.length && html`<tr><td colspan=${lines.length + 1} class="soft">
            ${t('all_zero')}</td></tr>`}</tbody>
      </table></div>
    </details>
  </figure>`;
}
