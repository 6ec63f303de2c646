/* The views for orders: a search, one order with its history, changes of one or many orders, and
   one buyer's orders and refusals in a sale. */
import {
  api,
  Ask,
  count,
  Field,
  html,
  money,
  moment,
  More,
  Pill,
  Problem,
  query,
  seg,
  t,
  Table,
  usePages,
  usePoll,
  useState,
  word,
} from '/assets/console-kit.js';

const STATES = ['reserved', 'paid', 'cancelled', 'expired', 'refunded'];
const KINDS = { reserved: 'warn', paid: 'good', refunded: '', cancelled: '', expired: '' };
const State = ({ state }) => html`<${Pill} kind=${KINDS[state]}>${word('state', state)}<//>`;
const short = id => `${id.slice(0, 12)}…`;

/** The changes that an order's state allows. */
const changes = state => ({ reserved: ['cancel', 'extend'], paid: ['refund'] })[state] ?? [];

/** Returns the question before a change of these orders. */
function change(name, orders, done) {
  return {
    title: t(`order.${name}.title`, { n: orders.length }),
    points: [
      t(`order.${name}.points`),
      ...orders.slice(0, 10).map(order => `${short(order.id)} · ${order.buyer} · ${money(order.amount)}`),
      ...(orders.length > 10 ? [t('and_more', { n: orders.length - 10 })] : []),
    ],
    yes: t('order.' + name),
    danger: name !== 'extend',
    fields: () => html`
      ${name === 'extend' && html`<${Field} label=${t('minutes')}>
        ${props => html`<input ...${props} name="minutes" type="number" min="1" value="15" />`}
      <//>`}
      <${Field} label=${t('reason')}>
        ${props => html`<input ...${props} name="reason" />`}
      <//>`,
    act: async form => {
      const reason = form.get('reason') || undefined;
      const body =
        name === 'extend' ? { secs: Number(form.get('minutes')) * 60, reason } : { reason };
      for (const order of orders) {
        await api.send('POST', `/v1/admin/orders/${order.id}/${name}`, body);
      }
      done();
    },
  };
}

function Orders({ search, can }) {
  const [ask, setAsk] = useState(null);
  const [chosen, setChosen] = useState(new Set());
  const filter = { sale: search.sale, item: search.item, buyer: search.buyer, state: search.state };
  const list = usePages('/v1/admin/orders' + query({ ...filter, limit: 50 }), 'orders');
  const find = event => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    if (values.id.trim()) location.hash = `#/orders/${seg(values.id.trim())}`;
    else location.hash = '#/orders' + query({ ...values, id: '' });
  };
  const rows = list.rows ?? [];
  const picked = rows.filter(order => chosen.has(order.id));
  const toggle = id => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
  };
  const done = () => {
    setChosen(new Set());
    list.reload();
  };
  return html`<h1>${t('orders')}</h1>
    <form class="card search" onSubmit=${find} role="search">
      ${['id', 'sale', 'item', 'buyer'].map(name => html`<${Field} label=${t('find.' + name)}>
        ${props => html`<input ...${props} name=${name} defaultValue=${search[name] ?? ''}
          spellcheck=${false} />`}<//>`)}
      <${Field} label=${t('state')}>
        ${props => html`<select ...${props} name="state">
          <option value="">${t('any')}</option>
          ${STATES.map(state => html`<option value=${state} selected=${state === search.state}>
            ${word('state', state)}</option>`)}</select>`}
      <//>
      <p><button class="button button--main">${t('find')}</button></p>
    </form>
    <${Problem} error=${list.error} />
    ${can('operator') && picked.length > 0 && html`<p class="bulk" role="status">
      ${t('chosen', { n: picked.length })}
      ${['cancel', 'extend', 'refund'].map(name => {
        const able = picked.filter(order => changes(order.state).includes(name));
        return able.length > 0 && html`<button class="button" type="button"
          onClick=${() => setAsk(change(name, able, done))}>
          ${t('order.' + name)} (${able.length})</button>`;
      })}</p>`}
    <${Table} caption=${t('orders')} rows=${list.rows} columns=${[
      ...(can('operator') ? [[t('choice_column'), row => html`<input type="checkbox" aria-label=${t('choose', {
        id: row.id,
      })} checked=${chosen.has(row.id)} onChange=${() => toggle(row.id)} />`]] : []),
      [t('order'), row => html`<a class="code" href=${'#/orders/' + row.id}>${short(row.id)}</a>`],
      [t('sale'), row => html`<a href=${'#/sales/' + row.sale}>${row.sale}</a> / ${row.item}`],
      [t('buyer'), row => html`<a href=${'#/support' + query({ sale: row.sale, buyer: row.buyer })}>
        ${row.buyer}</a>`],
      [t('units'), row => count(row.units), 'end'],
      [t('amount'), row => money(row.amount), 'end'],
      [t('state'), row => html`<${State} state=${row.state} />`],
      [t('reserved_at'), row => moment(row.reserved_at)],
    ]} />
    <${More} list=${list} />
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

function Order({ params, can }) {
  const [ask, setAsk] = useState(null);
  const id = seg(params.order);
  const { data, error, reload } = usePoll(`/v1/admin/orders/${id}`, 5);
  const refunds = usePoll(`/v1/admin/refunds?order=${id}`, 5);
  if (!data) return html`<h1>${t('order')}</h1><${Problem} error=${error} />`;
  return html`<div class="lead"><h1>${t('order')}</h1><${State} state=${data.state} />
      <div class="lead__do">
        ${can('operator') && changes(data.state).map(name => html`<button type="button"
          class="button" onClick=${() => setAsk(change(name, [data], reload))}>
          ${t('order.' + name)}</button>`)}
      </div></div>
    <p class="code wrap">${data.id}</p>
    <dl class="facts card">
      <div><dt>${t('sale')}</dt><dd><a href=${'#/sales/' + data.sale}>${data.sale}</a> / ${data.item}</dd></div>
      <div><dt>${t('buyer')}</dt><dd><a href=${'#/support' + query({ sale: data.sale, buyer: data.buyer })}>
        ${data.buyer}</a></dd></div>
      <div><dt>${t('units')}</dt><dd>${data.units}</dd></div>
      ${data.amount && html`<div><dt>${t('amount')}</dt><dd>${money(data.amount)}</dd></div>`}
      <div><dt>${t('reserved_at')}</dt><dd>${moment(data.reserved_at)}</dd></div>
      <div><dt>${t('pay_by')}</dt><dd>${moment(data.pay_by)}</dd></div>
      <div><dt>${t('paid_at')}</dt><dd>${moment(data.paid_at)}</dd></div>
      <div><dt>${t('ended_at')}</dt><dd>${moment(data.ended_at)}</dd></div>
    </dl>
    <section class="panel card"><h2>${t('history')}</h2>
      <${Table} caption=${t('history')} columns=${[
        [t('time'), row => moment(row.at)],
        [t('event'), row => html`<span class="code">${row.event}</span>`],
        [t('by'), row => row.by],
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
        [t('amount'), row => money(row.amount), 'end'],
        [t('state'), row => word('refund', row.state)],
        [t('reason'), row => word('cause', row.cause)],
        [t('error'), row => row.error ?? '–'],
      ]} rows=${(refunds.data?.refunds ?? []).map(row => ({ id: row.refund, ...row }))} /></section>
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

function Story({ sale, buyer }) {
  const { data, error } = usePoll(
    `/v1/admin/sales/${seg(sale)}/buyers/${seg(buyer)}`,
    5,
  );
  if (!data) return html`<${Problem} error=${error} />`;
  return html`<section class="story">
    ${data.blocked && html`<p class="alarm alarm--bad"><b>${t('blocked')}</b>
      <a href="#/access">${t('blocks')}</a></p>`}
    <p class="answer card"><b>${t('story')}</b> ${story(data)}</p>
    <section class="panel card"><h2>${t('orders')}</h2>
      <${Table} caption=${t('orders')} columns=${[
        [t('order'), row => html`<a class="code" href=${'#/orders/' + row.id}>${short(row.id)}</a>`],
        [t('item'), row => row.item],
        [t('units'), row => row.units, 'end'],
        [t('state'), row => html`<${State} state=${row.state} />`],
        [t('reserved_at'), row => moment(row.reserved_at)],
      ]} rows=${data.orders} empty=${t('no_orders')} /></section>
    <section class="panel card"><h2>${t('refusals')}</h2>
      <${Table} caption=${t('refusals')} columns=${[
        [t('time'), row => moment(row.at)],
        [t('item'), row => row.item],
        [t('reason'), row => html`<b>${word('code', row.code)}</b> ${t(`why.${row.code}`) ===
          `why.${row.code}` ? '' : html`<br /><span class="soft">${t(`why.${row.code}`)}</span>`}`],
        [t('node'), row => row.node],
      ]} rows=${data.refusals.map((row, n) => ({ id: n, ...row }))} empty=${t('no_refusals')} />
      ${!data.refusals_complete && html`<p class="soft">${t('refusals_incomplete')}</p>`}</section>
    <section class="panel card"><h2>${t('waitlist')}</h2>
      <${Table} caption=${t('waitlist')} columns=${[
        [t('item'), row => row.item],
        [t('ahead'), row => count(row.ahead), 'end'],
      ]} rows=${data.waitlist} empty=${t('not_waiting')} /></section>
  </section>`;
}

/** Returns one sentence about the buyer's orders and refusals. */
function story(data) {
  const has = state => data.orders.some(order => order.state === state);
  if (has('paid')) return t('story.paid');
  if (has('reserved')) return t('story.reserved');
  if (data.blocked) return t('story.blocked');
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
  const list = usePages('/v1/admin/sales?limit=100', 'sales');
  const find = event => {
    event.preventDefault();
    location.hash = '#/support' + query(Object.fromEntries(new FormData(event.target)));
  };
  return html`<h1>${t('support.title')}</h1>
    <form class="card search" role="search" onSubmit=${find}>
      <${Field} label=${t('sale')}>
        ${props => html`<select ...${props} name="sale">
          ${(list.rows ?? []).map(sale => html`<option value=${sale.id}
            selected=${sale.id === search.sale}>${sale.title}</option>`)}</select>`}
      <//>
      <${Field} label=${t('find.buyer')}>
        ${props => html`<input ...${props} name="buyer" required defaultValue=${search.buyer ?? ''}
          spellcheck=${false} />`}
      <//>
      <p><button class="button button--main">${t('find')}</button></p>
    </form>
    <${Problem} error=${list.error} />
    ${search.sale && search.buyer &&
    html`<${Story} key=${search.sale + ' ' + search.buyer} sale=${search.sale} buyer=${search.buyer} />`}`;
}

export const pages = [
  { path: '/orders', title: () => t('orders'), nav: true, view: Orders },
  { path: '/orders/:order', title: () => t('order'), view: Order },
  { path: '/support', title: () => t('support'), nav: true, view: Support },
];
