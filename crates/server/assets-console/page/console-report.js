/* The report after a sale: totals, refusals, latencies, money and audit. An operator can print it,
   and replay the sale with a slider. */
import { count, html, money, moment, Phase, Pill, Problem, seg, t, Table, usePoll, useState, word }
  from '/assets/console-kit.js';

/** Seconds of one step. Even ten hours in steps of a minute easily fit into one answer of the API.
   */
const STEP = 60;

function Report({ params }) {
  const path = `/v1/admin/sales/${seg(params.sale)}`;
  const sale = usePoll(path, 0);
  const stock = usePoll(path + '/stock', 0);
  const audit = usePoll('/v1/admin/audit', 0);
  const sums = usePoll(`/v1/admin/exports/reconciliation?sale=${seg(params.sale)}`, 0);
  const from = new Date(Math.floor(Date.now() / 60_000) * 60_000 - 59 * 3_600_000).toISOString();
  const series = usePoll(sale.data && `${path}/series?step=${STEP}&from=${from}`, 0);
  const [at, setAt] = useState(null);
  if (!sale.data) return html`<${Problem} error=${sale.error} /><p>${t('loading')}</p>`;
  const points = series.data?.points ?? [];
  const shown = at === null ? points.length : at;
  const until = points.slice(0, shown);
  const total = name => until.reduce((all, point) => all + point[name], 0);
  const refused = {};
  for (const point of until) {
    for (const [code, n] of Object.entries(point.refused)) {
      refused[code] = (refused[code] ?? 0) + n;
    }
  }
  const findings = (audit.data?.findings ?? []).filter(
    finding => !finding.sale || finding.sale === params.sale,
  );
  return html`<div class="lead"><h1>${t('report_of', { title: sale.data.title })}</h1>
      <${Phase} phase=${sale.data.phase} />
      <div class="lead__do noprint">
        <a class="button" href=${`#/sales/${params.sale}`}>${t('live')}</a>
        <button class="button" type="button" onClick=${() => print()}>${t('print')}</button>
      </div></div>
    <p>${audit.data && html`<${Pill} kind=${findings.length ? 'bad' : 'good'}>
      ${t(findings.length ? 'audit.bad' : 'audit.good')}<//>`}
      <span class="soft"> ${audit.data && t('checked', { at: moment(audit.data.checked_at) })}</span></p>
    <section class="panel card"><h2>${t('totals')}</h2>
      <${Table} caption=${t('totals')} columns=${[
        [t('item'), row => row.item],
        [t('flow.total'), row => (typeof row.total === 'number' ? count(row.total) : t('unlimited')), 'end'],
        [t('flow.sold'), row => count(row.paid), 'end'],
        [t('flow.held'), row => count(row.held), 'end'],
        [t('flow.left'), row => count(row.pool + row.in_slots), 'end'],
      ]} rows=${stock.data?.items.map(item => ({ id: item.item, ...item }))} /></section>
    <section class="panel card"><h2>${t('requests')}</h2>
      <p class="noprint"><label for="replay">${t('replay')}</label>
        <input id="replay" type="range" min="0" max=${points.length} value=${shown}
          aria-valuetext=${until.length ? moment(until.at(-1).at) : t('none')}
          onInput=${event => setAt(Number(event.target.value))} />
        <span class="soft"> ${until.length ? moment(until.at(-1).at) : t('none')}</span></p>
      <dl class="numbers">
        <div><dt>${t('requests')}</dt><dd>${count(total('requests'))}</dd></div>
        <div><dt>${t('orders')}</dt><dd>${count(total('reserved'))}</dd></div>
        <div><dt>p99</dt><dd>${Math.max(0, ...until.map(point => point.p99_ms))} ms</dd></div>
      </dl>
      <${Table} caption=${t('refusals')} empty=${t('no_refusals')} columns=${[
        [t('reason'), row => word('code', row.id)],
        [t('refusals'), row => count(row.n), 'end'],
      ]} rows=${Object.entries(refused).map(([id, n]) => ({ id, n }))} /></section>
    <section class="panel card"><h2>${t('money')}</h2>
      <${Table} caption=${t('money')} columns=${[
        [t('currency'), row => row.id],
        [t('captured'), row => money({ amount_minor: row.captured, currency: row.id }), 'end'],
        [t('refunded'), row => money({ amount_minor: row.refunded, currency: row.id }), 'end'],
      ]} rows=${moneyRows(sums.data)} /></section>
    ${findings.length > 0 && html`<section class="panel card"><h2>${t('findings')}</h2>
      <ul>${findings.map(finding => html`<li><b>${finding.rule}</b> ${finding.detail}</li>`)}</ul>
    </section>`}`;
}

/** Returns the captured and the refunded money of each currency, from the reconciliation. */
function moneyRows(report) {
  if (!report) return null;
  const sums = new Map();
  for (const { money: rows } of report.items) {
    for (const row of rows) {
      const sum = sums.get(row.currency) ?? { id: row.currency, captured: 0, refunded: 0 };
      sum.captured += row.captured;
      sum.refunded += row.refunded;
      sums.set(row.currency, sum);
    }
  }
  return [...sums.values()];
}

export const pages = [
  {
    path: '/sales/:sale/report',
    title: ({ sale }) => `${t('report')}: ${sale}`,
    view: Report,
  },
];
