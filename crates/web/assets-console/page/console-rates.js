/* The charts of a sale: requests, latencies, refusals and queues, for a span of time. */
import { api, html, Problem, seg, serverNow, t, useEffect, useState, word } from
  '/assets/console-kit.js';
import { Chart, steps, useSeries, writtenUntil } from '/assets/console-charts.js';
import { Refusals } from '/assets/console-flow.js';

const SPANS = { minutes: 180, hour: 3600 };
/** A period of at most this many seconds has steps of one second. A longer period has steps of one
   minute. */
const BY_SECOND_SECS = 6 * 3600;
const DAY_SECS = 23 * 3600;
/** The period of a closed sale ends this many seconds after the closing, because buyers may still
   pay orders then. */
const AFTER_CLOSE_SECS = 60;
const REASONS_MAX = 5;

const secondsOf = text => (text ? Math.floor(Date.parse(text) / 1000) : null);

/** Returns when the sale opened and closed, in seconds since 1970, and the operators' actions. The
   times come from these actions or, if there are none, from the sale. If the phase changes,
   everything is read again. */
export function usePeriod(sale) {
  const [state, set] = useState({ opened: null, closed: null, actions: null, error: null });
  const { id, phase } = sale ?? {};
  useEffect(() => {
    if (!id) return;
    const path = `/v1/admin/actions?limit=200&subject=${seg('sale:' + id)}`;
    const read = async () => {
      try {
        const { actions, next_cursor: more } = await api.get(path);
        // If there are more pages, the first page may lack the older action that opened the sale.
        // So this action is requested separately.
        const openings = more ? (await api.get(path + '&action=sale.opened')).actions : actions;
        const of = (name, rows = actions) =>
          rows.filter(row => row.action === name).map(row => row.at);
        const planned = at => (at && Date.parse(at) <= serverNow() ? at : null);
        const opened = secondsOf(of('sale.opened', openings).at(-1) ?? planned(sale.starts_at));
        const closed = phase === 'closed'
          ? secondsOf(of('sale.closed')[0] ?? planned(sale.ends_at)) : null;
        set({ opened, closed, actions, error: null });
      } catch (error) {
        set(old => ({ ...old, error }));
      }
    };
    read();
  }, [id, phase]);
  return state;
}

/** Returns the period of the whole sale. Its steps are minutes if the period is long, or if the
   server may have deleted the rows of seconds. */
export function wholePeriod({ opened, closed }) {
  const now = Math.floor(serverNow() / 1000);
  const to = closed && now >= closed + AFTER_CLOSE_SECS ? closed + AFTER_CLOSE_SECS : undefined;
  const from = opened ?? (to && to - SPANS.hour);
  if (!from) return { secs: SPANS.hour, step: 1 };
  const long = (to ?? now) - from > BY_SECOND_SECS || now - from > DAY_SECS;
  return { from, to, step: long ? 60 : 1 };
}

/** Returns the period of the last `secs` seconds before `to`. Its steps are minutes if the server
   may have deleted the rows of seconds. */
function endOf(to, secs) {
  const from = to - secs;
  return { from, to, step: serverNow() / 1000 - from > DAY_SECS ? 60 : 1 };
}

export function refusalsOf(points) {
  const all = {};
  for (const point of points) {
    for (const [code, n] of Object.entries(point.refused)) all[code] = (all[code] ?? 0) + n;
  }
  return all;
}

/** With `shown`, the lines end at that time. `last` is the newest point before the period. */
export function RateCharts({ points, from, to, step, last, shown = to }) {
  const all = steps(points, { from, to, step, shown, last });
  const index = all.times.findLastIndex(at => at <= shown);
  const rate = n => Math.round((n / step) * 10) / 10;
  const top = Object.entries(refusalsOf(points.values()))
    .sort((a, b) => b[1] - a[1])
    .slice(0, REASONS_MAX)
    .map(([code]) => code);
  return html`<div class="charts">
    <${Chart} title=${t('chart.requests')} times=${all.times} shown=${index} lines=${[
      [t('chart.requests_line'), '--data-1', all.of(point => rate(point.requests))],
      [t('chart.reserved_line'), '--data-2', all.of(point => rate(point.reserved))],
      // The average of a minute hides a short burst of requests. So a second line shows the busiest
      // second of each minute.
      ...(step > 1 ? [[t('chart.busiest_line'), '--data-3',
        all.of(point => point.busiest_second ?? null)]] : []),
    ]} />
    <${Chart} title=${t('chart.latency')} times=${all.times} shown=${index} unit=" ms" lines=${[
      ['p99', '--data-3', all.of(point => (point.requests ? point.p99_ms : null), null)],
      ['p50', '--data-4', all.of(point => (point.requests ? point.p50_ms : null), null)],
    ]} />
    <${Chart} title=${t('chart.refused')} times=${all.times} shown=${index} stack=${true}
      lines=${(top.length ? top : [null]).map((code, n) => [
        code ? word('code', code) : t('refusals'),
        `--data-${[3, 1, 5, 4, 6][n]}`,
        all.of(point => rate(point.refused[code] ?? 0)),
      ])} />
    <${Chart} title=${t('chart.queue')} times=${all.times} shown=${index} lines=${[
      [t('chart.queue_line'), '--data-5', all.levelOf(point => point.queue_depth)],
      [t('chart.waiting_line'), '--data-4', all.levelOf(point => point.waiting)],
    ]} />
  </div>`;
}

export function Charts({ sale, period, stale }) {
  const [chosen, setSpan] = useState(null);
  const span = chosen ?? (period.closed ? 'whole' : 'minutes');
  const whole = wholePeriod(period);
  const secs = SPANS[span];
  const wanted = span === 'whole' ? whole
    : whole.to ? endOf(whole.to, secs)
    : { secs, step: 1 };
  const { points, to: end, last, error } = useSeries(sale, wanted);
  const from = wanted.from ?? end - wanted.secs;
  // If the period has no end yet, the charts end with the newest complete step.
  const to = wanted.to ? end : Math.max(from + wanted.step, writtenUntil(end, wanted.step));
  // The time of a point is the start of its step. The first step can start before the period.
  const first = from - (from % wanted.step);
  const shown = new Map([...points].filter(([at]) => at >= first));
  const newest = shown.get(to - wanted.step)?.refused ?? {};
  const now = Object.fromEntries(Object.entries(newest).map(([code, n]) =>
    [code, Math.round(n / wanted.step)]));
  return html`<section class=${stale || error ? 'stale' : ''} aria-label=${t('charts')}>
    <div class="charts__head">
      <div class="ways" role="group" aria-label=${t('span')}>
        ${['minutes', 'hour', 'whole'].map(name => html`<button type="button"
          aria-pressed=${String(name === span)} onClick=${() => setSpan(name)}>
          ${t('span.' + name)}</button>`)}
      </div>
      <span class="soft">${t(wanted.step === 1 ? 'by_second' : 'by_minute')}</span>
    </div>
    <${Problem} error=${stale ? null : error} />
    ${end > 0 && html`<${RateCharts} points=${shown} from=${from} to=${to} step=${wanted.step}
      last=${last} />`}
    ${end > 0 && html`<section class="panel card refusals"><h2>${t('refusals_by_reason')}</h2>
      <${Refusals} refused=${refusalsOf(shown.values())} now=${whole.to ? null : now} /></section>`}
  </section>`;
}
