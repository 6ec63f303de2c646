/* A sale's live view: units, requests, slots, nodes, alarms, and the operator's next steps. */
import { announce, api, Ask, clock, count, duration, faultAt, Field, html, Input,
  localized, moment, money, More, Phase, Pill, Problem, query, SaleTabs, say, seg, serverNow, t,
  Table, useEffect, usePages, usePoll, useState, useTick, word } from '/assets/console-kit.js';
import { alarmsOf, Alarms, lagIsBad, useGoneNodes } from '/assets/console-alarms.js';
import { unlessUnknown } from '/assets/console-fields.js';
import { Flow, hasTwoCounters, Slots, sumOf } from '/assets/console-flow.js';
import { State } from '/assets/console-orders.js';
import { Charts, usePeriod } from '/assets/console-rates.js';
import { plainText } from '/assets/console-texts.js';

const BEFORE = ['draft', 'scheduled'];

function phaseSteps(sale, { left, held }) {
  const step = (name, more = {}) => ({
    name,
    title: t(`step.${name}.title`),
    points: t(`step.${name}.points`, {
      left: count(left),
      held: count(held),
      at: moment(sale.starts_at),
    }).split('|'),
    yes: t('step.' + name),
    ...more,
  });
  const close = step('close', { typed: 'close', danger: true });
  // The server schedules a sale only if its start is in the future. Otherwise this button lets the
  // operator set the start first.
  const schedule = Date.parse(sale.starts_at ?? '') > serverNow() ? step('schedule')
    : { ...step('set_start'), label: t('step.schedule') };
  return {
    draft: [schedule, step('open'), step('delete', { typed: 'delete', danger: true })],
    scheduled: [step('open'), step('unschedule'), close],
    open: [step('pause'), close],
    paused: [step('resume'), close],
    closed: [],
  }[sale.phase];
}

function Adjust({ sale, items, ask }) {
  const open = () => {
    // If a response is lost, the operator can repeat the request. The key stays the same, so the
    // server does not adjust the stock twice. Unlike `randomUUID`, `getRandomValues` works without
    // HTTPS.
    const key = crypto.getRandomValues(new Uint32Array(4)).join('-');
    ask({
      title: t('adjust'),
      points: t('adjust.points').split('|'),
      yes: t('adjust'),
      fields: error => html`
        <${Field} label=${t('item')}>
          ${props => html`<select ...${props} name="item">
            ${sale.items.filter(item => item.stock !== 'unlimited').map(item => {
              const row = items.find(row => row.item === item.id);
              return html`<option value=${item.id}>${plainText(item.title)}${row && ` (${
                t('n_left', { n: count(row.pool + row.in_slots) })})`}</option>`;
            })}
          </select>`}
        <//>
        <${Input} label=${t('units')} hint=${t('units_hint')} fault=${faultAt(error, '/units')}
          name="units" type="number" required />
        <${Input} label=${t('reason')} fault=${faultAt(error, '/reason')} name="reason"
          maxlength="200" required />`,
      act: form =>
        api.send(
          'POST',
          `/v1/admin/sales/${seg(sale.id)}/items/${seg(form.get('item'))}/adjustments`,
          { units: Number(form.get('units')), reason: form.get('reason') },
          { 'Idempotency-Key': key },
        ),
    });
  };
  return html`<button class="button" type="button" onClick=${open}>${t('adjust')}</button>`;
}

function Admit({ sale, ask }) {
  const open = () =>
    ask({
      title: t('admit.title'),
      points: t('admit.points').split('|'),
      yes: t('admit'),
      typed: 'admit',
      danger: true,
      fields: error => html`
        ${sale.front_door.rooms === 'items' && html`<${Field} label=${t('item')}>
          ${props => html`<select ...${props} name="item">${sale.items.map(item => html`
            <option value=${item.id}>${plainText(item.title)}</option>`)}</select>`}
        <//>`}
        <${Input} label=${t('admit.visitors')} fault=${faultAt(error, '/visitors')} name="visitors"
          type="number" min="1" max="5000" defaultValue="100" required />
        <${Input} label=${t('reason')} fault=${faultAt(error, '/reason')} name="reason"
          required />`,
      act: async form => {
        const sending = api.send(
          'POST',
          `/v1/admin/sales/${seg(sale.id)}/waiting-room/admissions`,
          {
            visitors: Number(form.get('visitors')),
            reason: form.get('reason'),
            ...(form.get('item') && { item: form.get('item') }),
          },
        );
        // A repetition would admit more visitors.
        const done = await sending.catch(unlessUnknown('admit.unknown'));
        say(t('admitted', { n: count(done.admitted), waiting: count(done.waiting) }));
      },
    });
  return html`<button class="button" type="button" onClick=${open}>${t('admit')}</button>`;
}

/** Returns an entry for each draw: the item with the waiting room, or null if one room serves the
   whole sale. */
const draws = sale => (sale.front_door.rooms === 'items' ? sale.items : [null]);

function Check({ sale }) {
  const [state, set] = useState({ report: null, error: null });
  const run = async () => {
    try {
      set({ report: await api.send('POST', `/v1/admin/sales/${seg(sale)}/check`), error: null });
    } catch (error) {
      set({ report: null, error });
    }
  };
  return html`<section class="panel card"><div class="panel__head"><h2>${t('check')}</h2>
      <button class="button" type="button" onClick=${run}>${t('check_now')}</button></div>
    ${!state.report && html`<p class="soft">${t('check.about')}</p>`}
    <${Problem} error=${state.error} />
    ${state.report && html`<p role="status"><${Pill} kind=${state.report.ready ? 'good' : 'bad'}>
        ${t(state.report.ready ? 'check.ready' : 'check.not_ready')}<//></p>
      <ul class="problems">${state.report.problems.map(problem => html`<li>
        <span><${Pill} kind=${problem.severity === 'error' ? 'bad' : 'warn'}>
          ${t('severity.' + problem.severity)}<//></span>
        <span>${localized(problem.detail)}</span></li>`)}</ul>`}
  </section>`;
}

/** Counts down by the server's clock. */
function When({ sale, period }) {
  const left = text => duration(Date.parse(text) - serverNow());
  if (sale.phase === 'scheduled' && sale.starts_at) {
    return html`<span class="soft" title=${moment(sale.starts_at)}>
      ${t('opens_in', { left: left(sale.starts_at), at: moment(sale.starts_at) })}</span>`;
  }
  if (sale.phase === 'closed') {
    return period.closed && html`<span class="soft">
      ${t('closed_at', { at: moment(period.closed * 1000) })}</span>`;
  }
  return sale.ends_at && html`<span class="soft">
    ${t('closes_in', { left: left(sale.ends_at), at: moment(sale.ends_at) })}</span>`;
}

function Steps({ sale, items, path, can, ask, reload }) {
  if (!can('operator')) return null;
  const left = sumOf(items, 'pool') + sumOf(items, 'in_slots');
  const act = name => async () => {
    if (name === 'set_start') {
      location.hash = `#/sales/${seg(sale.id)}/edit`;
      return;
    }
    if (name === 'delete') {
      await api.send('DELETE', path);
      location.hash = '#/sales';
      return;
    }
    await api.send('POST', `${path}/${name}`);
    reload();
  };
  const hasRoom = sale.front_door?.waiting_room !== 'off';
  return html`<div class="lead__do" role="group" aria-label=${t('steps')}>
    ${phaseSteps(sale, { left, held: sumOf(items, 'held') }).map(step => html`<button type="button"
      class=${'button' + (step.danger ? ' button--danger'
        : ['open', 'resume'].includes(step.name) ? ' button--main' : '')}
      onClick=${() => ask({ ...step, act: act(step.name) })}>${step.label ?? step.yes}</button>`)}
    ${sale.phase !== 'closed' && sale.items.some(item => item.stock !== 'unlimited') &&
    html`<${Adjust} sale=${sale} items=${items} ask=${ask} />`}
    ${sale.phase === 'open' && hasRoom && html`<${Admit} sale=${sale} ask=${ask} />`}
    ${hasRoom && !BEFORE.includes(sale.phase) && draws(sale).map(item => html`<a class="button"
      download href=${`${path}/draw.csv${item ? '?item=' + seg(item.id) : ''}`}>
      ${t('draw')}${item && `: ${plainText(item.title)}`}</a>`)}
  </div>`;
}

/** While its numbers are old, this part is grey and shows the numbers' time. */
const Panel = ({ poll, wide, children }) =>
  html`<section class=${'panel card' + (wide ? ' wide' : '') + (poll.stale ? ' stale' : '')}>
    ${children}
    ${poll.stale && html`<p class="soft">${t('stale', { at: clock(poll.at) })}</p>`}</section>`;

function Panels({ sale, path }) {
  const slots = usePoll(path + '/slots', 5);
  const orders = usePoll(`/v1/admin/orders?sale=${seg(sale.id)}&limit=10`, 5);
  const two = hasTwoCounters(slots.data?.slots);
  const unlimited = new Set(
    sale.items.filter(item => item.stock === 'unlimited').map(item => item.id));
  return html`<div class="panels">
    <${Panel} poll=${orders}><h2>${t('recent_orders')}</h2>
      <${Table} caption=${t('recent_orders')} empty=${t('no_orders')} columns=${[
        [t('time'), row => clock(Date.parse(row.reserved_at))],
        [t('buyer'), row => html`<a href=${'#/support' + query({ sale: sale.id, buyer: row.buyer })}>
          ${row.buyer}</a>`, 'wrap'],
        [t('amount'), row => money(row.amount), 'end'],
        [t('state'), row => html`<a href=${'#/orders/' + row.id}><${State} state=${row.state} /></a>`],
      ]} rows=${orders.data?.orders} /><//>
    <${Panel} poll=${slots} wide=${two}><h2>${t('slots')}</h2>
      <${Slots} rows=${slots.data?.slots} unlimited=${unlimited} /><//>
  </div>`;
}

function Installation({ nodes, ends }) {
  return html`<div class="panels">
    <${Panel} poll=${nodes}><h2><a href="#/nodes">${t('nodes')}</a></h2>
      <${Table} caption=${t('nodes')} columns=${[
        [t('node'), row => row.node],
        [t('roles'), row => html`${row.roles.join(', ')} ${row.leader &&
          html`<${Pill} kind="good">${t('leader')}<//>`}`],
        [t('connections'), row => count(row.connections), 'end'],
        [t('lag'), row => html`<${Lag} node=${row} />`, 'end'],
      ]} rows=${nodes.data?.nodes.map(node => ({ id: node.node, ...node }))} /><//>
    <${Panel} poll=${ends}><h2><a href="#/receivers">${t('receivers')}</a></h2>
      <${Table} caption=${t('receivers')} empty=${t('no_receivers')} columns=${[
        [t('address'), row => row.url, 'wrap'],
        [t('waiting'), row => count(row.waiting), 'end'],
        [t('dead'), row => count(row.dead), 'end'],
      ]} rows=${ends.data?.endpoints} /><//>
  </div>`;
}

export const Lag = ({ node }) =>
  node.lag_ms == null ? '–' : lagIsBad(node)
    ? html`<${Pill} kind="bad">${t('secs', { n: (node.lag_ms / 1000).toFixed(1) })}<//>`
    : t('secs', { n: (node.lag_ms / 1000).toFixed(1) });

function Live({ params, can }) {
  const path = `/v1/admin/sales/${seg(params.sale)}`;
  const sale = usePoll(path, 2);
  const stock = usePoll(path + '/stock', 1);
  const nodes = usePoll('/v1/admin/nodes', 5);
  const ready = usePoll('/readyz', 5);
  const audit = usePoll('/v1/admin/audit', 60);
  const ends = usePoll('/v1/admin/webhook-endpoints', 15);
  const refunds = usePoll('/v1/admin/dead-letters?limit=1&kind=refund', 15);
  const tickets = usePoll('/v1/admin/dead-letters?limit=1&kind=ticket', 15);
  const [ask, setAsk] = useState(null);
  const period = usePeriod(sale.data);
  const gone = useGoneNodes(nodes.data);
  const phase = sale.data?.phase;
  useEffect(() => {
    if (phase) announce(t('phase_is', { phase: word('phase', phase) }));
  }, [phase]);
  useTick();
  if (!sale.data) {
    return sale.error ? html`<${Problem} error=${sale.error} />` : html`<p>${t('loading')}</p>`;
  }
  const { data } = sale;
  const items = stock.data?.items ?? [];
  const titles = Object.fromEntries(data.items.map(item => [item.id, plainText(item.title)]));
  const { stale } = stock;
  const reload = () => {
    sale.reload();
    stock.reload();
  };
  return html`
    <div class="lead">
      <h1>${plainText(data.title)}</h1>
      <${Phase} phase=${data.phase} />
      <${When} sale=${data} period=${period} />
      <${Steps} sale=${data} items=${items} path=${path} can=${can} ask=${setAsk}
        reload=${reload} />
    </div>
    <${SaleTabs} sale=${data.id} now="live" />
    ${stale && html`<p class="alarm alarm--warn" role="status">
      ${t('stale', { at: clock(stock.at) })}</p>`}
    <${Alarms} alarms=${alarmsOf({ ready, audit, nodes, gone, ends, refunds, tickets })} />
    ${stock.data && html`<${Flow} sale=${data.id} items=${items} titles=${titles}
      stale=${stale} />`}
    ${BEFORE.includes(data.phase) && html`<${Check} sale=${data.id} />`}
    ${!BEFORE.includes(data.phase) &&
    html`<${Charts} sale=${data.id} period=${period} stale=${stale} />`}
    <${Panels} sale=${data} path=${path} />
    <${Installation} nodes=${nodes} ends=${ends} />
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

/** Lists the buyers of a waitlist. The first is the buyer who joined first. */
function Waitlist({ params }) {
  const path = `/v1/admin/sales/${seg(params.sale)}/items/${seg(params.item)}/waitlist`;
  const list = usePages(path + '?limit=100', 'entries');
  return html`<h1>${t('waitlist_of', params)}</h1>
    <${SaleTabs} sale=${params.sale} />
    <p class="soft">${t('waitlist.about')}</p>
    <${Problem} error=${list.error} />
    <${Table} caption=${t('waitlist')} card=${true} empty=${t('nobody_waits')}
      rows=${list.rows} columns=${[
        [t('buyer'), row => html`<a href=${'#/support' + query({ sale: params.sale,
          buyer: row.buyer })}>${row.buyer}</a>`],
        [t('ahead'), row => count(row.ahead), 'end'],
        [t('units'), row => count(row.units), 'end'],
        [t('since'), row => moment(row.joined_at)],
      ]} />
    <${More} list=${list} />`;
}

export const pages = [
  { path: '/sales/:sale', title: ({ sale }) => sale ?? '', under: '/sales', view: Live },
  {
    path: '/sales/:sale/waitlist/:item',
    title: params => t('waitlist_of', params),
    under: '/sales',
    view: Waitlist,
  },
];
