/* The report after a sale: verdict, totals, timeline, refusals, latencies, money and audit. An
   operator can print it, and replay the sale with a slider. */
import { clock, count, differencesText, duration, html, moment, money, percent, Phase, Pill,
  Problem, SaleTabs, seg, t, Table, usePoll, useState, word } from '/assets/console-kit.js';
import { useSeries } from '/assets/console-charts.js';
import { Bar, partsOf, Refusals, sumOf } from '/assets/console-flow.js';
import { Who } from '/assets/console-names.js';
import { RateCharts, refusalsOf, usePeriod, wholePeriod } from '/assets/console-rates.js';
import { plainText } from '/assets/console-texts.js';

/** The members of the reconciliation that say where captured money is. */
const AMOUNTS = ['captured', 'standing', 'refunded', 'pending', 'failed'];

function Verdict({ sale, stock, audit, sums, findings }) {
  if (!audit || !sums) return null;
  const good = !findings.length && sums.ok;
  const items = stock?.items ?? [];
  return html`<section class=${'verdict' + (good ? '' : ' verdict--bad')}
    aria-labelledby="verdict-title">
    <h2 id="verdict-title">${t(good ? 'verdict.good' : 'verdict.bad')}</h2>
    <p>${t('verdict.units', {
      paid: count(sumOf(items, 'paid')),
      held: count(sumOf(items, 'held')),
      left: count(sumOf(items, 'pool') + sumOf(items, 'in_slots')),
    })}${' '}${differencesText(sums, sale.id)}${t('stop')}
      ${sale.phase !== 'closed' && t('verdict.running')}</p>
    <p class="soft"><${Pill} kind=${findings.length ? 'bad' : 'good'}>
      ${t(findings.length ? 'audit.bad' : 'audit.good')}<//>
      ${' '}${t('checked', { at: moment(audit.checked_at) })}</p>
  </section>`;
}

/** Finds moments such as the first order and the busiest second. If the points of an older server
   have no busiest second, finds the busiest minute instead. */
function moments(points) {
  const found = [];
  const note = (point, name, values) => point && found.push({ at: point.at, name, values });
  const list = [...points.values()];
  note(list.find(point => point.reserved > 0), 'first_order');
  const isKnown = list.every(point => point.busiest_second != null);
  const of = point => (isKnown ? point.busiest_second : point.requests);
  const busiest = list.reduce((a, b) => (of(b) > (a ? of(a) : 0) ? b : a), null);
  note(busiest, isKnown ? 'busiest' : 'busiest_minute', { n: busiest && count(of(busiest)) });
  // Items with unlimited stock have no number of free units.
  const counted = point => point.items.filter(item => item.free != null);
  const free = point => sumOf(point.items, 'free');
  const soldOut = list.find(point => counted(point).length && free(point) === 0);
  note(soldOut, 'nothing_free');
  note(soldOut && list.find(point => point.at > soldOut.at && free(point) > 0), 'free_again');
  return found;
}

function Timeline({ period, points, step }) {
  const rows = [
    ...(period.actions ?? []).toReversed().map(row => ({
      at: row.at,
      order: Date.parse(row.at),
      what: word('action', row.action),
      by: row.by,
    })),
    ...moments(points).map(({ at, name, values }) => ({
      at,
      // A point describes a whole step, so it comes after the actions within this step.
      order: Date.parse(at) + step * 1000 - 1,
      what: t('moment.' + name, values),
      by: null,
    })),
  ];
  rows.sort((a, b) => a.order - b.order);
  return html`<section class="panel card"><h2>${t('events')}</h2>
    <${Problem} error=${period.error} />
    <${Table} caption=${t('events')} columns=${[
      [t('time'), row => moment(row.at), 'nowrap'],
      [t('event'), row => row.what],
      [t('by'), row => row.by ? html`<${Who} id=${row.by} />` : html`<span class="soft">–</span>`],
    ]} rows=${period.actions && rows.map((row, id) => ({ id, ...row }))} /></section>`;
}

/** Shows the sale at a moment that the operator chooses with a slider. */
function Replay({ series, period, step, totals }) {
  const { points, to, last } = series;
  const [chosen, choose] = useState(null);
  const from = period.from ?? to - period.secs;
  const at = chosen ?? to;
  const until = new Map([...points].filter(([time]) => time <= at));
  const list = [...until.values()];
  const total = name => list.reduce((all, point) => all + point[name], 0);
  const slowest = list.reduce((most, point) => Math.max(most, point.p99_ms), 0);
  const stock = list.findLast(point => point.items.length)?.items;
  const [paid, held, free] = ['paid', 'held', 'free'].map(name => sumOf(stock ?? [], name));
  const shown = moment(at * 1000);
  return html`<section class="panel card"><h2>${t('replay.title')}</h2>
      <p class="replay noprint"><label for="replay">${t('replay')}</label>
        <input id="replay" type="range" min=${from} max=${to} step=${step} value=${at}
          aria-valuetext=${shown} onInput=${event => choose(Number(event.target.value))} />
        <b>${shown}</b></p>
      <dl class="numbers">
        <div><dt>${t('requests')}</dt><dd>${count(total('requests'))}</dd></div>
        <div><dt>${t('orders')}</dt><dd>${count(total('reserved'))}</dd></div>
        <div><dt class="key key-sold">${t('flow.sold')}</dt><dd>${count(paid)}</dd></div>
        <div><dt class="key key-held">${t('flow.held')}</dt><dd>${count(held)}</dd></div>
        ${totals && html`<div><dt class="key key-slots">${t('flow.free')}</dt>
          <dd>${count(free)}</dd></div>`}
        <div><dt>${t(step === 1 ? 'slowest' : 'slowest_minute')}</dt><dd>${count(slowest)} <small>ms</small></dd></div>
      </dl>
      ${totals && html`<${Bar} parts=${[['sold', paid], ['held', held], ['slots', free]]} />`}
    </section>
    <${RateCharts} points=${until} from=${from} to=${to} step=${step} last=${last} shown=${at} />
    <section class="panel card"><h2>${t('refusals_by_reason')}</h2>
      <${Refusals} refused=${refusalsOf(list)} /></section>`;
}

function Money({ sums, sale }) {
  const amount = (row, name) => money({ amount_minor: row[name], currency: row.id });
  return html`<section class="panel card"><h2>${t('money')}</h2>
    <${Table} caption=${t('money')} empty=${t('no_money')} columns=${[
      [t('currency'), row => row.id],
      ...AMOUNTS.map(name => [
        t('money.' + name),
        row => amount(row, name),
        'end',
      ]),
    ]} rows=${moneyRows(sums.data)} />
    <${Problem} error=${sums.error} />
    ${sums.data && html`<p><${Pill} kind=${sums.data.ok ? 'good' : 'bad'}>
      ${differencesText(sums.data, sale)}<//></p>`}
    ${sums.data?.differences.length > 0 && html`<${Table} caption=${t('differences')} columns=${[
      [t('kind'), row => word('difference', row.kind)],
      [t('order'), row => row.order ? html`<a class="code" href=${'#/orders/' + row.order}>
        ${row.order.slice(0, 12)}…</a>` : '–'],
      [t('detail'), row => row.detail],
    ]} rows=${sums.data.differences.map((row, id) => ({ id, ...row }))} />`}
  </section>`;
}

function Report({ params }) {
  const path = `/v1/admin/sales/${seg(params.sale)}`;
  const sale = usePoll(path, 0);
  const stock = usePoll(path + '/stock', 0);
  const audit = usePoll('/v1/admin/audit', 0);
  const sums = usePoll(`/v1/admin/exports/reconciliation?sale=${seg(params.sale)}`, 0);
  const period = usePeriod(sale.data);
  const whole = wholePeriod(period);
  const series = useSeries(params.sale, whole);
  if (!sale.data) {
    return sale.error ? html`<${Problem} error=${sale.error} />` : html`<p>${t('loading')}</p>`;
  }
  const titles = Object.fromEntries(
    sale.data.items.map(item => [item.id, plainText(item.title)]),
  );
  const findings = (audit.data?.findings ?? []).filter(
    finding => !finding.sale || finding.sale === params.sale,
  );
  const counted = (stock.data?.items ?? []).some(item => typeof item.total === 'number');
  const { opened, closed } = period;
  return html`<div class="lead"><h1>${t('report_of', { title: plainText(sale.data.title) })}</h1>
      <${Phase} phase=${sale.data.phase} />
      <span class="soft">${opened && moment(opened * 1000)}${closed && html` – ${clock(closed * 1000)}${' '}
        (${duration((closed - opened) * 1000)})`}</span>
      <div class="lead__do noprint">
        <button class="button button--main" type="button" onClick=${() => print()}>
          ${t('print')}</button>
      </div></div>
    <${SaleTabs} sale=${params.sale} now="report" />
    <${Problem} error=${audit.error ?? stock.error} />
    <${Verdict} sale=${sale.data} stock=${stock.data} audit=${audit.data} sums=${sums.data}
      findings=${findings} />
    ${findings.length > 0 && html`<section class="panel card"><h2>${t('findings')}</h2>
      <ul>${findings.map(finding => html`<li><b>${finding.rule}</b> ${finding.detail}</li>`)}</ul>
    </section>`}
    <section class="panel card"><h2>${t('totals')}</h2>
      <${Table} caption=${t('totals')} columns=${[
        [t('item'), row => titles[row.item] ?? row.item],
        [t('flow.total'), row => (typeof row.total === 'number' ? count(row.total) : t('unlimited')), 'end'],
        [t('flow.sold'), row => count(row.paid), 'end'],
        [t('flow.held'), row => count(row.held), 'end'],
        [t('flow.left'), row => (typeof row.total === 'number'
          ? count(row.pool + row.in_slots) : '–'), 'end'],
        [t('sold_share'), row => typeof row.total === 'number' && html`<span class="share">
          <${Bar} parts=${partsOf(row)} kind="mini" /> ${percent(row.paid, row.total)}</span>`],
      ]} rows=${stock.data?.items.map(item => ({ id: item.item, ...item }))} /></section>
    <${Problem} error=${series.error} />
    ${series.to > 0 && html`<${Replay} series=${series} period=${whole} step=${whole.step}
      totals=${counted} />`}
    <${Money} sums=${sums} sale=${params.sale} />
    <${Timeline} period=${period} points=${series.points} step=${whole.step} />
    <section class="panel card noprint"><h2>${t('exports')}</h2><ul class="links">
      ${['orders', 'payments', 'refunds', 'ledger'].map(name => html`<li><a class="button" download
        href=${`/v1/admin/exports/${name}.csv?sale=${seg(params.sale)}`}>${t('export.' + name)}</a></li>`)}
    </ul></section>`;
}

/** The captured and refunded money of each currency, from the reconciliation. */
function moneyRows(report) {
  if (!report) return null;
  const sums = new Map();
  for (const { money: rows } of report.items) {
    for (const row of rows) {
      const sum = sums.get(row.currency) ?? { id: row.currency };
      for (const name of AMOUNTS) sum[name] = (sum[name] ?? 0) + row[name];
      sums.set(row.currency, sum);
    }
  }
  return [...sums.values()];
}

export const pages = [
  {
    path: '/sales/:sale/report',
    under: '/sales',
    title: ({ sale }) => `${t('report')}: ${sale}`,
    view: Report,
  },
];
