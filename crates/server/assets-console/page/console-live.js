/* A sale's live view: the places of all units, requests by second, slots, nodes, alarms, and the
   operator's next steps. */
import {
  announce,
  api,
  Ask,
  clock,
  count,
  faultAt,
  Field,
  html,
  moment,
  Phase,
  Pill,
  Problem,
  seg,
  t,
  Table,
  useEffect,
  usePoll,
  useState,
  word,
} from '/assets/console-kit.js';
import { Chart } from '/assets/console-charts.js';

/* Numbers that are older than this are grey. */
const STALE_MS = 4000;
const WINDOW_SECS = 180;
/* The number of newest steps that are read again each time. */
const OVERLAP = 5;

/** Shows where every unit is, from one answer. If the sum is wrong, the view says so in red. */
function Flow({ items, stale }) {
  const counted = items.filter(item => typeof item.total === 'number');
  const sum = name => counted.reduce((all, item) => all + item[name], 0);
  const [total, paid, held, slots, pool] = ['total', 'paid', 'held', 'in_slots', 'pool'].map(sum);
  const fits = paid + held + slots + pool === total;
  const parts = [
    ['sold', paid],
    ['held', held],
    ['slots', slots],
    ['pool', pool],
  ];
  let start = 0;
  const bars = parts.map(([name, units]) => {
    const x = start;
    start += total ? (units / total) * 1000 : 0;
    return html`<rect class=${'fill-' + name} x=${x} width=${total ? (units / total) * 1000 : 0}
      height="10" />`;
  });
  return html`<section class=${'flow card' + (stale ? ' stale' : '')} aria-labelledby="flow-title">
    <h2 class="unseen" id="flow-title">${t('flow')}</h2>
    <dl class="numbers">
      ${parts.map(([name, units]) => html`<div><dt class=${'key key-' + name}>${t('flow.' + name)}</dt>
        <dd data-number=${name}>${count(units)}</dd></div>`)}
      <div><dt>${t('flow.left')}</dt><dd data-number="left">${count(slots + pool)}</dd></div>
    </dl>
    <svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">${bars}</svg>
    <p class="audit">
      <${Pill} kind=${fits ? 'good' : 'bad'}>${t(fits ? 'adds_up' : 'adds_not_up')}<//>
      <span class="audit__sum">
        ${count(paid)} + ${count(held)} + ${count(slots)} + ${count(pool)} ${fits ? '=' : '≠'} ${count(total)}
      </span>
    </p>
    ${items.length > 1 && html`<${Table} caption=${t('items')}
      columns=${[
        [t('item'), row => row.item],
        [t('flow.sold'), row => count(row.paid), 'end'],
        [t('flow.held'), row => count(row.held), 'end'],
        [t('flow.left'), row => count(row.pool + row.in_slots), 'end'],
        [t('waitlist'), row => count(row.waiting), 'end'],
      ]}
      rows=${items.map(item => ({ id: item.item, ...item }))} />`}
  </section>`;
}

/** Reads the points of the last `secs` seconds. Later calls read only the newest steps. */
function useSeries(sale, step, secs) {
  const [state, set] = useState({ points: new Map(), to: 0, error: null });
  useEffect(() => {
    let ended = false;
    let timer = 0;
    let points = new Map();
    let from = Date.now() - secs * 1000;
    const read = async () => {
      if (!document.hidden) {
        try {
          const start = new Date(from).toISOString();
          const path = `/v1/admin/sales/${seg(sale)}/series?step=${step}&from=${start}`;
          const answer = await api.get(path);
          const to = Math.floor(Date.parse(answer.to) / 1000);
          points = new Map([...points].filter(([at]) => at >= to - secs));
          for (const point of answer.points) {
            points.set(Math.floor(Date.parse(point.at) / 1000), point);
          }
          // Nodes write each second a little later, so the newest steps are read again.
          from = (to - OVERLAP * step) * 1000;
          if (!ended) set({ points, to, error: null });
        } catch (error) {
          if (!ended) set(old => ({ ...old, error }));
        }
      }
      if (!ended) timer = setTimeout(read, step === 1 ? 1000 : 10_000);
    };
    read();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, [sale, step, secs]);
  return state;
}

/** Returns every second of the window, with its point if there is one. */
function seconds({ points, to }, secs, step) {
  const from = to - secs;
  const times = [];
  for (let at = from - (from % step); at < to; at += step) times.push(at);
  return { times, of: read => times.map(at => (points.has(at) ? read(points.get(at)) : 0)) };
}

function Charts({ sale, opened, stale }) {
  const [span, setSpan] = useState('minutes');
  const now = Date.now();
  const hours = opened ? Math.ceil((now - Date.parse(opened)) / 3_600_000) : 1;
  const step = span === 'minutes' ? 1 : span === 'hour' ? 10 : 60;
  const secs =
    span === 'minutes' ? WINDOW_SECS : span === 'hour' ? 3600 : Math.min(hours, 59) * 3600;
  const series = useSeries(sale, step, secs);
  if (!series.to) return html`<${Problem} error=${series.error} />`;
  const points = [...series.points.values()].sort((a, b) => (a.at < b.at ? -1 : 1));
  const all = seconds(series, secs, step);
  const rate = n => Math.round((n / step) * 10) / 10;
  const last = points.at(-1);
  const refusals = {};
  for (const point of points) {
    for (const [code, n] of Object.entries(point.refused)) {
      refusals[code] = (refusals[code] ?? 0) + n;
    }
  }
  const top = Object.entries(refusals)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 5)
    .map(([code]) => code);
  return html`<section class=${stale ? 'stale' : ''} aria-label=${t('charts')}>
    <div class="ways" role="group" aria-label=${t('span')}>
      ${['minutes', 'hour', 'whole'].map(name => html`<button type="button"
        aria-pressed=${String(name === span)} onClick=${() => setSpan(name)}>
        ${t('span.' + name)}</button>`)}
    </div>
    <div class="charts">
      <${Chart} title=${t('chart.requests')} times=${all.times} lines=${[
        [t('chart.requests_line'), '--data-1', all.of(point => rate(point.requests))],
        [t('chart.reserved_line'), '--data-2', all.of(point => rate(point.reserved))],
      ]} />
      <${Chart} title=${t('chart.latency')} times=${all.times} unit=" ms" lines=${[
        ['p50', '--data-4', all.of(point => point.p50_ms)],
        ['p99', '--data-3', all.of(point => point.p99_ms)],
      ]} />
      ${top.length > 0 && html`<${Chart} title=${t('chart.refused')} times=${all.times}
        lines=${top.map((code, n) => [
          word('code', code),
          `--data-${n + 1}`,
          all.of(point => rate(point.refused[code] ?? 0)),
        ])} />`}
      <${Chart} title=${t('chart.queue')} times=${all.times} lines=${[
        [t('chart.queue_line'), '--data-5', all.of(point => point.queue_depth)],
        [t('chart.waiting_line'), '--data-6', all.of(point => point.waiting)],
      ]} />
    </div>
    <div class="panel card"><h2>${t('refusals')}</h2>
      <${Table} caption=${t('refusals')} empty=${t('no_refusals')} columns=${[
        [t('reason'), row => word('code', row.id)],
        [t('in_window'), row => count(row.n), 'end'],
      ]} rows=${Object.entries(refusals).map(([id, n]) => ({ id, n }))} />
      ${last && html`<p class="soft">${t('last_point', { at: clock(Date.parse(last.at)) })}</p>`}
    </div>
  </section>`;
}

function Alarms({ ready, audit }) {
  const alarms = [];
  if (ready.error?.status === 503) {
    for (const reason of ready.error.reasons ?? [ready.error.message]) alarms.push(reason);
  }
  for (const warning of ready.data?.warnings ?? []) alarms.push(warning);
  for (const finding of audit.data?.findings ?? []) alarms.push(`${finding.rule}: ${finding.detail}`);
  if (!alarms.length) return html`<p class="alarm" role="status">${t('no_alarms')}</p>`;
  return html`<div class="alarm alarm--bad" role="alert"><b>${t('alarms')}</b>
    <ul>${alarms.map(alarm => html`<li>${word('alarm', alarm)}</li>`)}</ul></div>`;
}

/** The steps that an operator can take in this phase, and their consequences. */
function phaseSteps(sale, left) {
  const step = (name, more = {}) => ({
    name,
    title: t(`step.${name}.title`),
    points: t(`step.${name}.points`, { left: count(left) }).split('|'),
    yes: t('step.' + name),
    ...more,
  });
  const close = step('close', { typed: 'close', danger: true });
  return {
    draft: [step('schedule'), step('open')],
    scheduled: [step('open'), step('unschedule'), close],
    open: [step('pause'), close],
    paused: [step('resume'), close],
    closed: [],
  }[sale.phase];
}

function Adjust({ sale, items, ask }) {
  const open = () =>
    ask({
      title: t('adjust'),
      points: [t('adjust.points')],
      yes: t('adjust'),
      fields: error => html`
        <${Field} label=${t('item')}>
          ${props => html`<select ...${props} name="item">
            ${items.map(item => html`<option value=${item.id}>${item.title}</option>`)}
          </select>`}
        <//>
        <${Field} label=${t('units')} hint=${t('units_hint')} fault=${faultAt(error, '/units')}>
          ${props => html`<input ...${props} name="units" type="number" required />`}
        <//>
        <${Field} label=${t('reason')} fault=${faultAt(error, '/reason')}>
          ${props => html`<input ...${props} name="reason" required />`}
        <//>`,
      act: form =>
        api.send(
          'POST',
          `/v1/admin/sales/${seg(sale.id)}/items/${seg(form.get('item'))}/adjustments`,
          { units: Number(form.get('units')), reason: form.get('reason') },
          { 'Idempotency-Key': crypto.randomUUID() },
        ),
    });
  return html`<button class="button" type="button" onClick=${open}>${t('adjust')}</button>`;
}

function Check({ sale }) {
  const [state, set] = useState({ report: null, error: null });
  const run = async () => {
    try {
      set({ report: await api.send('POST', `/v1/admin/sales/${seg(sale)}/check`), error: null });
    } catch (error) {
      set({ report: null, error });
    }
  };
  return html`<section class="panel card"><h2>${t('check')}</h2>
    <p><button class="button" type="button" onClick=${run}>${t('check_now')}</button></p>
    <${Problem} error=${state.error} />
    ${state.report && html`<p role="status"><${Pill} kind=${state.report.ready ? 'good' : 'bad'}>
        ${t(state.report.ready ? 'check.ready' : 'check.not_ready')}<//></p>
      <ul class="problems">${state.report.problems.map(problem => html`<li>
        <${Pill} kind=${problem.severity === 'error' ? 'bad' : 'warn'}>
          ${t('severity.' + problem.severity)}<//>
        ${problem.detail}</li>`)}</ul>`}
  </section>`;
}

function Live({ params, can }) {
  const path = `/v1/admin/sales/${seg(params.sale)}`;
  const sale = usePoll(path, 2);
  const stock = usePoll(path + '/stock', 1);
  const slots = usePoll(path + '/slots', 5);
  const nodes = usePoll('/v1/admin/nodes', 5);
  const ready = usePoll('/readyz', 5);
  const audit = usePoll('/v1/admin/audit', 60);
  const orders = usePoll(`/v1/admin/orders?sale=${seg(params.sale)}&limit=10`, 5);
  const ends = usePoll('/v1/admin/webhook-endpoints', 15);
  const [ask, setAsk] = useState(null);
  const phase = sale.data?.phase;
  useEffect(() => {
    if (phase) announce(t('phase_is', { phase: word('phase', phase) }));
  }, [phase]);
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick(n => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  if (!sale.data) return html`<${Problem} error=${sale.error} /><p>${t('loading')}</p>`;
  const { data } = sale;
  const items = stock.data?.items ?? [];
  const left = items.reduce((all, item) => all + item.pool + item.in_slots, 0);
  const stale = stock.at > 0 && Date.now() - stock.at > STALE_MS;
  const act = step => async () => {
    await api.send('POST', `${path}/${step}`);
    sale.reload();
    stock.reload();
  };
  return html`
    <div class="lead">
      <h1>${data.title}</h1>
      <${Phase} phase=${data.phase} />
      <span class="soft">${data.starts_at && data.phase === 'scheduled' &&
        t('starts', { at: moment(data.starts_at) })}
        ${data.ends_at && data.phase !== 'closed' && t('ends', { at: moment(data.ends_at) })}</span>
      <div class="lead__do" role="group" aria-label=${t('steps')}>
        ${can('operator') && phaseSteps(data, left).map(step => html`<button type="button"
          class=${'button' + (step.danger ? ' button--danger' : step.name === 'open' ||
            step.name === 'resume' ? ' button--main' : '')}
          onClick=${() => setAsk({ ...step, act: act(step.name) })}>${t('step.' + step.name)}
        </button>`)}
        ${can('operator') && data.phase !== 'closed' &&
        html`<${Adjust} sale=${data} items=${data.items} ask=${setAsk} />`}
        <a class="button" href=${`#/sales/${data.id}/edit`}>${t('edit')}</a>
        <a class="button" href=${`#/sales/${data.id}/report`}>${t('report')}</a>
        <a class="button" href=${`#/support?sale=${seg(data.id)}`}>${t('support')}</a>
      </div>
    </div>
    ${stale && html`<p class="alarm" role="status">${t('stale', { at: clock(stock.at) })}</p>`}
    <${Alarms} ready=${ready} audit=${audit} />
    ${stock.data && html`<${Flow} items=${items} stale=${stale} />`}
    <${Charts} sale=${data.id} opened=${data.starts_at} stale=${stale} />
    ${['draft', 'scheduled'].includes(data.phase) && html`<${Check} sale=${data.id} />`}
    <div class="panels">
      <section class="panel card"><h2>${t('recent_orders')}</h2>
        <${Table} caption=${t('recent_orders')} columns=${[
          [t('time'), row => clock(Date.parse(row.reserved_at))],
          [t('buyer'), row => html`<a href=${`#/support?sale=${seg(data.id)}&buyer=${seg(row.buyer)}`}>
            ${row.buyer}</a>`],
          [t('units'), row => count(row.units), 'end'],
          [t('state'), row => html`<a href=${'#/orders/' + row.id}>${word('state', row.state)}</a>`],
        ]} rows=${orders.data?.orders} /></section>
      <section class="panel card"><h2>${t('slots')}</h2>
        <${Table} caption=${t('slots')} columns=${[
          [t('slot'), row => html`<span class="code">${row.slot}</span>`],
          [t('available'), row => row.available == null ? '–' : typeof row.available === 'number'
            ? count(row.available) : `A ${count(row.available.a)} · B ${count(row.available.b)}`, 'end'],
          [t('active'), row => row.active ?? '–'],
          [t('settled'), row => `${count(row.settled)} / ${count(row.granted)}`, 'end'],
        ]} rows=${slots.data?.slots.map(slot => ({ id: slot.slot, ...slot }))} /></section>
      <section class="panel card"><h2>${t('nodes')}</h2>
        <${Table} caption=${t('nodes')} columns=${[
          [t('node'), row => row.node],
          [t('roles'), row => row.roles.join(', ') + (row.leader ? ` · ${t('leader')}` : '')],
          [t('connections'), row => count(row.connections), 'end'],
        ]} rows=${nodes.data?.nodes.map(node => ({ id: node.node, ...node }))} /></section>
      <section class="panel card"><h2>${t('receivers')}</h2>
        <${Table} caption=${t('receivers')} columns=${[
          [t('address'), row => row.url],
          [t('waiting'), row => count(row.waiting), 'end'],
          [t('dead'), row => count(row.dead), 'end'],
        ]} rows=${ends.data?.endpoints} /></section>
    </div>
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

export const pages = [{ path: '/sales/:sale', title: ({ sale }) => sale ?? '', view: Live }];
