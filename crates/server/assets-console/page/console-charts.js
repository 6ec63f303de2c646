/* Charts by second, drawn with uPlot. In a chart of counts, a second without a point is zero. */
import { clock, html, t, useEffect, useRef } from '/assets/console-kit.js';

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

const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const HEIGHT = 180;

/** Draws a chart. `lines` has [label, color token, values], and `times` has seconds since 1970. */
export function Chart({ title, times, lines, unit }) {
  const box = useRef(null);
  const chart = useRef(null);
  const data = [times, ...lines.map(([, , values]) => values)];
  useEffect(() => {
    let ended = false;
    load().then(UPlot => {
      if (ended) return;
      const axis = { stroke: color('--color-text-soft'), grid: { stroke: color('--color-line') } };
      const options = {
        width: box.current.clientWidth,
        height: HEIGHT,
        legend: { live: true },
        cursor: { sync: { key: 'live' } },
        scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
        axes: [
          { ...axis, values: (_, times) => times.map(at => clock(at * 1000).slice(0, 5)) },
          { ...axis, size: 56 },
        ],
        series: [
          { value: (_, at) => (at == null ? '–' : clock(at * 1000)) },
          ...lines.map(([label, token]) => ({
            label,
            stroke: color(token),
            width: 2,
            points: { show: false },
            value: (_, n) => (n == null ? '–' : `${n}${unit ?? ''}`),
          })),
        ],
      };
      chart.current = new UPlot(options, data, box.current);
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
  }, [lines.map(([label]) => label).join()]);
  useEffect(() => {
    chart.current?.setData(data);
  });
  const last = times.slice(-10).map((at, n) => ({ at, n: Math.max(0, times.length - 10) + n }));
  return html`<figure class="chart card">
    <figcaption>${title}</figcaption>
    <div class="chart__box" ref=${box} aria-hidden="true"></div>
    <details><summary>${t('as_table')}</summary>
      <div class="scroll" tabindex="0" role="region" aria-label=${title}><table class="grid">
        <thead><tr><th scope="col">${t('time')}</th>
          ${lines.map(([label]) => html`<th scope="col" class="end">${label}</th>`)}</tr></thead>
        <tbody>${last.reverse().map(
          ({ at, n }) => html`<tr key=${at}><td>${clock(at * 1000)}</td>
            ${lines.map(([, , values]) => html`<td class="end">${values[n] ?? '–'}</td>`)}</tr>`,
        )}</tbody>
      </table></div>
    </details>
  </figure>`;
}
