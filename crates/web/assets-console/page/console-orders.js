/* The views for orders: a search, one order, changes of orders, and one buyer's orders and
   refusals. */
import { api, Ask, count, Field, Fresh, html, Input, moment, money, More, Pill, Problem, query,
  readAll, SaleField, SaleTabs, say, seg, serverNow, t, Table, useEffect, usePages, usePoll, useRef,
  useState, word } from '/assets/console-kit.js';
import { useSearchForm } from '/assets/console-fields.js';
import { MoneyTabs } from '/assets/console-money.js';
import { Who } from '/assets/console-names.js';
import { plainText } from '/assets/console-texts.js';

const STATES = ['reserved', 'paid', 'cancelled', 'expired', 'refunded'];
const KINDS = { reserved: 'warn', paid: 'good', refunded: '', cancelled: '', expired: '' };
export const State = ({ state }) => html`<${Pill} kind=${KINDS[state]}>${word('state', state)}<//>`;
const short = id => `${id.slice(0, 12)}…`;

const changes = state => ({ reserved: ['cancel', 'extend'], paid: ['refund'] })[state] ?? [];

/** Returns the sum of the orders' amounts, for each currency. */
function sums(orders) {
  const all = new Map();
  for (const { amount } of orders) {
    all.set(amount.currency, (all.get(amount.currency) ?? 0) + amount.amount_minor);
  }
  return [...all].map(([currency, amount_minor]) => money({ amount_minor, currency })).join(' + ');
}

/** Returns the question before a change. The question lists at most ten orders, and the sum of all
   orders. */
function change(name, orders, done) {
  const changed = new Set();
  const asked = serverNow();
  return {
    title: t(`order.${name}.title`, { n: orders.length }),
    points: [
      t(`order.${name}.points`),
      ...(orders.length > 1 ? [t('sum_of_orders', { sum: sums(orders) })] : []),
      ...orders.slice(0, 10).map(order => `${short(order.id)} · ${order.buyer} · ${money(order.amount)}`),
      ...(orders.length > 10 ? [t('and_more', { n: orders.length - 10 })] : []),
    ],
    yes: t(`order.${name}.yes`, { n: orders.length }),
    danger: name !== 'extend',
    // If the change cannot be undone and affects several orders, the operator must type the number
    // of orders.
    typed: name !== 'extend' && orders.length > 1 ? String(orders.length) : undefined,
    fields: () => html`
      ${name === 'extend' && html`<${Input} label=${t('minutes')} hint=${t('minutes_hint')}
        name="minutes" type="number" min="1" max="1440" defaultValue="15" required />`}
      <${Input} label=${t('reason')} hint=${t('reason_hint')} name="reason" maxlength="200" />`,
    act: async (form, step) => {
      const reason = form.get('reason').trim() || undefined;
      const extra = Number(form.get('minutes')) * 60_000;
      let [refused, tried] = [null, changed.size];
      for (const order of orders.filter(order => !changed.has(order.id))) {
        const progress = t('progress', { done: count(tried++), n: count(orders.length) });
        if (orders.length > 1 && !step(progress)) break;
        // Adds the minutes to the `pay_by` that the screen shows, not to the order's present
        // `pay_by`. So a repeated request does not add the minutes twice. If the `pay_by` has
        // passed, adds the minutes to the time at which the dialog opened.
        const from = Math.max(Date.parse(order.pay_by), asked);
        const pay_by = name === 'extend' ? new Date(from + extra).toISOString() : undefined;
        try {
          await api.send('POST', `/v1/admin/orders/${seg(order.id)}/${name}`, { reason, pay_by });
          changed.add(order.id);
        } catch (error) {
          refused = { order, error };
          // Status 409 and 422 are about this order only, so the loop continues. After any other
          // status, the requests for the remaining orders would fail too.
          if (![409, 422].includes(error.status)) break;
        }
      }
      done();
      if (refused) {
        const { order, error } = refused;
        // No field of the dialog can show a fault of one order, so the message has the fault.
        const message = t('some_refused', {
          done: changed.size,
          n: orders.length,
          order: short(order.id),
          error: error.faults?.[0]?.detail ?? error.message,
        });
        throw Object.assign(new Error(message), { requestId: error.requestId });
      }
      say(t(changed.size < orders.length ? 'orders_stopped' : 'orders_changed', {
        done: count(changed.size),
        n: orders.length,
      }));
    },
  };
}

/** The maximum number of orders that the console changes at once. */
const CHOSEN_MAX = 10_000;

function Orders({ search, can }) {
  const [ask, setAsk] = useState(null);
  // The chosen orders, by id. The table may now show another page of the list.
  const [chosen, setChosen] = useState(new Map());
  const [reading, setReading] = useState({ found: null, error: null });
  // The number of the newest search. A running search with an older number stops.
  const run = useRef(0);
  const filter = { sale: search.sale, item: search.item, buyer: search.buyer, state: search.state };
  const list = usePages('/v1/admin/orders' + query({ ...filter, limit: 50 }), 'orders');
  const where = query(filter);
  const form = useSearchForm(search);
  const stop = () => {
    run.current += 1;
    setReading({ found: null, error: null });
  };
  useEffect(() => {
    setChosen(new Map());
    return stop;
  }, [where]);
  const find = event => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    if (values.id.trim()) location.hash = `#/orders/${seg(values.id.trim())}`;
    else location.hash = '#/orders' + query({ ...values, id: '' });
  };
  const rows = list.rows ?? [];
  const picked = [...chosen.values()];
  const toggle = order =>
    setChosen(old => {
      const next = new Map(old);
      if (!next.delete(order.id)) next.set(order.id, order);
      return next;
    });
  const byId = orders => new Map(orders.map(order => [order.id, order]));
  const done = () => {
    setChosen(new Map());
    list.reload();
  };
  const chooseSearch = async () => {
    const mine = (run.current += 1);
    const heard = found => {
      if (run.current === mine) setReading({ found, error: null });
      return run.current === mine;
    };
    heard(0);
    try {
      const path = '/v1/admin/orders' + query({ ...filter, limit: 200 });
      const found = await readAll(path, 'orders', CHOSEN_MAX, heard);
      if (run.current !== mine) return;
      setChosen(byId(found));
      stop();
    } catch (error) {
      if (run.current === mine) setReading({ found: null, error });
    }
  };
  const all = rows.length > 0 && rows.every(order => chosen.has(order.id));
  const choose = html`<input type="checkbox" aria-label=${t('choose_all')} checked=${all}
    onChange=${() => setChosen(all ? new Map() : byId(rows))} />`;
  return html`<div class="lead"><h1>${t('orders')}</h1><div class="lead__do">
      <a class="button" download href=${'/v1/admin/exports/orders.csv' + query({
        sale: search.sale })}>${t('as_csv')}</a></div></div>
    ${search.sale ? html`<${SaleTabs} sale=${search.sale} now="orders" />`
      : html`<${MoneyTabs} now="orders" />`}
    <form class="card filters" onSubmit=${find} role="search" ref=${form}>
      ${['id', 'sale', 'item', 'buyer'].map(name => html`<${Input} label=${t('find.' + name)}
        name=${name} defaultValue=${search[name] ?? ''} spellcheck=${false}
        autocapitalize="none" />`)}
      <${Field} label=${t('state')}>
        ${props => html`<select ...${props} name="state">
          <option value="">${t('any')}</option>
          ${STATES.map(state => html`<option value=${state} selected=${state === search.state}>
            ${word('state', state)}</option>`)}</select>`}
      <//>
      <p class="filters__do"><button class="button button--main">${t('find')}</button></p>
    </form>
    <${Problem} error=${list.error} />
    <${Table} caption=${t('orders')} rows=${list.rows} card=${true} empty=${t('no_orders')}
      columns=${[
        ...(can('operator') ? [[choose, row => html`<input type="checkbox" aria-label=${t('choose', {
          id: row.id,
        })} checked=${chosen.has(row.id)} onChange=${() => toggle(row)} />`]] : []),
        [t('order'), row => html`<a class="code short" href=${'#/orders/' + row.id}>${short(row.id)}</a>`],
        [t('sale'), row => html`<span><a href=${'#/sales/' + seg(row.sale)}>${row.sale}</a> / ${row.item}</span>`],
        [t('buyer'), row => html`<a href=${'#/support' + query({ sale: row.sale, buyer: row.buyer })}>
          ${row.buyer}</a>`],
        [t('units'), row => count(row.units), 'end'],
        [t('amount'), row => money(row.amount), 'end'],
        [t('state'), row => html`<${State} state=${row.state} />`],
        [t('reserved_at'), row => moment(row.reserved_at), 'nowrap'],
      ]} />
    <${More} list=${list} />
    <${Problem} error=${reading.error} />
    ${can('operator') && list.next && reading.found === null && html`<p>
      <button class="button" type="button" onClick=${chooseSearch}>
        ${t('choose_search', { n: count(CHOSEN_MAX) })}</button></p>`}
    ${reading.found !== null && html`<p class="bulk card" role="status">
      <b>${t('reading_orders', { n: count(reading.found) })}</b>
      <button class="button" type="button" onClick=${stop}>${t('stop_now')}</button></p>`}
    ${can('operator') && picked.length > 0 && html`<p class="bulk card" role="status">
      <b>${t('chosen', { n: count(picked.length) })} · ${sums(picked)}</b>
      ${['cancel', 'extend', 'refund'].map(name => {
        const able = picked.filter(order => changes(order.state).includes(name));
        return able.length > 0 && html`<button class="button" type="button"
          onClick=${() => setAsk(change(name, able, done))}>
          ${t('order.' + name)} (${count(able.length)})</button>`;
      })}
      <button class="button button--plain" type="button" onClick=${() => setChosen(new Map())}>
        ${t('choose_none')}</button></p>`}
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

function Order({ params, can }) {
  const [ask, setAsk] = useState(null);
  const id = seg(params.order);
  const poll = usePoll(`/v1/admin/orders/${id}`, 5);
  const { data, error, reload } = poll;
  const refunds = usePoll(`/v1/admin/refunds?order=${id}`, 5);
  const changed = () => {
    reload();
    refunds.reload();
  };
  if (!data) {
    return html`<h1>${t('order')}</h1>
      ${error ? html`<${Problem} error=${error} />` : html`<p>${t('loading')}</p>`}
      <p><a href="#/orders">${t('back_to_orders')}</a></p>`;
  }
  return html`<div class="lead"><h1>${t('order')}</h1><${State} state=${data.state} />
      <div class="lead__do">
        ${can('operator') && changes(data.state).map(name => html`<button type="button"
          class="button" onClick=${() => setAsk(change(name, [data], changed))}>
          ${t('order.' + name)}</button>`)}
      </div></div>
    <p class="code wrap">${data.id}</p>
    <${Problem} error=${error} />
    <${Fresh} poll=${poll}><dl class="pairs card">
      <div><dt>${t('sale')}</dt><dd><a href=${'#/sales/' + data.sale}>${data.sale}</a> / ${data.item}</dd></div>
      <div><dt>${t('buyer')}</dt><dd><a href=${'#/support' + query({ sale: data.sale, buyer: data.buyer })}>
        ${data.buyer}</a></dd></div>
      <div><dt>${t('units')}</dt><dd>${count(data.units)}</dd></div>
      ${data.amount && html`<div><dt>${t('amount')}</dt><dd>${money(data.amount)}</dd></div>`}
      <div><dt>${t('reserved_at')}</dt><dd>${moment(data.reserved_at)}</dd></div>
      <div><dt>${t('pay_by')}</dt><dd>${moment(data.pay_by)}</dd></div>
      <div><dt>${t('paid_at')}</dt><dd>${moment(data.paid_at)}</dd></div>
      <div><dt>${t('ended_at')}</dt><dd>${moment(data.ended_at)}</dd></div>
    </dl>
    <section class="panel card"><h2>${t('history')}</h2>
      <${Table} caption=${t('history')} columns=${[
        [t('time'), row => moment(row.at)],
        [t('event'), row => html`<b>${word('event', row.event)}</b>${' '}
          <span class="code soft">${row.event}</span>`],
        [t('by'), row => actor(row.by)],
        [t('reason'), row => row.why ?? '–'],
      ]} rows=${(data.history ?? []).map((row, n) => ({ id: n, ...row }))} /></section>
    <section class="panel card"><h2>${t('payments')}</h2>
      <${Table} caption=${t('payments')} columns=${[
        [t('payment'), row => html`<span class="code">${row.payment}</span>`],
        [t('amount'), row => money(row.amount), 'end'],
        [t('state'), row => word('payment', row.state)],
        [t('time'), row => moment(row.at)],
      ]} rows=${(data.payments ?? []).map(row => ({ id: row.payment, ...row }))} /></section>
    <section class="panel card"><h2>${t('refunds')}</h2>
      <${Table} caption=${t('refunds')} columns=${[
        [t('state'), row => word('refund', row.state)],
        [t('amount'), row => money(row.amount), 'end'],
        [t('reason'), row => word('cause', row.cause)],
        [t('error'), row => row.error ?? '–'],
      ]} rows=${(refunds.data?.refunds ?? []).map(row => ({ id: row.refund, ...row }))} />
    </section><//>
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

/** Returns a text for who made a change: the buyer, an operator, the provider, or the server. */
function actor(by) {
  const [kind, ...rest] = by.split(':');
  const [text, id] = [word('actor', kind), rest.join(':')];
  if (kind === 'operator' && id) return html`${text} · <${Who} id=${id} />`;
  return id ? `${text} · ${id}` : text;
}

/** How many units the buyer has of each item that the sale limits. */
function Limits({ sale, orders }) {
  const { data } = usePoll(`/v1/admin/sales/${seg(sale)}`, 0);
  if (!data) return null;
  const has = item => orders
    .filter(order => order.item === item.id && ['reserved', 'paid'].includes(order.state))
    .reduce((all, order) => all + order.units, 0);
  return html`<section class="panel card"><h2>${t('limits')}</h2>
    <${Table} caption=${t('limits')} columns=${[
      [t('item'), row => plainText(row.title)],
      [t('has_units'), row => html`${has(row) >= row.limit_per_buyer && html`<${Pill} kind="warn">
        ${t('at_limit')}<//>`} ${count(has(row))}`, 'end'],
      [t('limit'), row => count(row.limit_per_buyer), 'end'],
    ]} rows=${data.items} /></section>`;
}

function Story({ sale, buyer }) {
  const poll = usePoll(`/v1/admin/sales/${seg(sale)}/buyers/${seg(buyer)}`, 5);
  const { data, error } = poll;
  if (!data) return error ? html`<${Problem} error=${error} />` : html`<p>${t('loading')}</p>`;
  return html`<${Problem} error=${error} /><${Fresh} poll=${poll}>
    ${data.blocked && html`<p class="alarm alarm--bad"><b>${t('blocked')}</b>
      <a href="#/access">${t('blocks')}</a></p>`}
    <p class="answer card" role="status"><span><b>${t('story')}</b> ${story(data)}</span></p>
    <section class="panel card"><h2>${t('refusals')}</h2>
      <${Table} caption=${t('refusals')} columns=${[
        [t('time'), row => moment(row.at), 'nowrap'],
        [t('item'), row => row.item],
        [t('reason'), row => html`<span><b>${word('code', row.code)}</b> ${t(`why.${row.code}`) ===
          `why.${row.code}` ? '' : html`<br /><span class="soft">${t(`why.${row.code}`)}</span>`}</span>`],
        [t('node'), row => row.node, 'end'],
      ]} rows=${data.refusals.map((row, n) => ({ id: n, ...row }))} empty=${t('no_refusals')} />
      ${!data.refusals_complete && html`<p class="soft">${t('refusals_incomplete')}</p>`}</section>
    <section class="panel card"><h2>${t('orders')}</h2>
      <${Table} caption=${t('orders')} columns=${[
        [t('order'), row => html`<a class="code short" href=${'#/orders/' + row.id}>${short(row.id)}</a>`],
        [t('item'), row => row.item],
        [t('units'), row => count(row.units), 'end'],
        [t('amount'), row => money(row.amount), 'end'],
        [t('state'), row => html`<${State} state=${row.state} />`],
        [t('reserved_at'), row => moment(row.reserved_at)],
      ]} rows=${data.orders} empty=${t('no_orders')} /></section>
    <div class="panels">
      <section class="panel card"><h2>${t('waitlist')}</h2>
        <${Table} caption=${t('waitlist')} columns=${[
          [t('item'), row => row.item],
          [t('since'), row => moment(row.joined_at)],
          [t('ahead'), row => count(row.ahead), 'end'],
        ]} rows=${data.waitlist} empty=${t('not_waiting')} /></section>
      <${Limits} sale=${sale} orders=${data.orders} />
    </div>
  <//>`;
}

function story(data) {
  const has = state => data.orders.some(order => order.state === state);
  if (has('paid')) return t('story.paid');
  if (has('reserved')) return t('story.reserved');
  if (data.blocked) return t('story.blocked');
  if (has('refunded')) return t('story.refunded');
  if (has('expired')) return t('story.expired');
  if (data.orders.length) return t('story.ended');
  if (data.waitlist.length) return t('story.waiting');
  if (data.refusals.length) {
    return t('story.refused', {
      n: data.refusals.length,
      reason: word('code', data.refusals[0].code),
    });
  }
  return t(data.refusals_complete ? 'story.nothing' : 'story.unknown');
}

function Support({ search }) {
  const form = useSearchForm(search);
  const find = event => {
    event.preventDefault();
    const { sale, buyer } = Object.fromEntries(new FormData(event.target));
    location.hash = '#/support' + query({ sale, buyer: buyer.trim() });
  };
  return html`<h1>${t('support.title')}</h1>
    ${search.sale && html`<${SaleTabs} sale=${search.sale} now="support" />`}
    <form class="card filters" role="search" onSubmit=${find} ref=${form}>
      <${SaleField} id=${search.sale} />
      <${Input} label=${t('find.buyer')} name="buyer" required defaultValue=${search.buyer ?? ''}
        spellcheck=${false} autocapitalize="none" />
      <p class="filters__do"><button class="button button--main">${t('find')}</button></p>
    </form>
    ${!(search.sale && search.buyer) && html`<p class="blank card soft">${t('support.about')}</p>`}
    ${search.sale && search.buyer &&
    html`<${Story} key=${search.sale + ' ' + search.buyer} sale=${search.sale} buyer=${search.buyer} />`}`;
}

export const pages = [
  { path: '/orders', title: () => t('orders'), nav: true, view: Orders },
  { path: '/orders/:order', title: () => t('order'), under: '/orders', view: Order },
  { path: '/support', title: () => t('support'), nav: true, view: Support },
];
