/* Where the units of a sale are: the stock flow, the items, and the slots. */
import { count, html, percent, Pill, seg, t, Table } from '/assets/console-kit.js';

const isCounted = item => typeof item.total === 'number';
export const sumOf = (items, name) => items.reduce((all, item) => all + (item[name] ?? 0), 0);

/** A bar of parts, each `[name, units]`, in the colours of the legend. */
export function Bar({ parts, kind = '' }) {
  const total = parts.reduce((all, [, units]) => all + units, 0);
  let x = 0;
  return html`<svg class=${'bar ' + kind} viewBox="0 0 1000 10" preserveAspectRatio="none"
    aria-hidden="true">${parts.map(([name, units]) => {
      const width = total ? (units / total) * 1000 : 0;
      x += width;
      return html`<rect class=${'fill-' + name} x=${x - width} width=${width} height="10" />`;
    })}</svg>`;
}
export const partsOf = item => [
  ['sold', item.paid],
  ['held', item.held],
  ['slots', item.in_slots ?? 0],
  ['pool', item.pool ?? 0],
];

/** Says whether each item's total equals the sum of its units. All numbers come from one
   response. */
function Sum({ items }) {
  const [total, paid, held, slots, pool] = ['total', 'paid', 'held', 'in_slots', 'pool'].map(name =>
    sumOf(items, name),
  );
  // Adds absolute differences. Otherwise a positive difference of one item could cancel a negative
  // difference of another.
  const off = items.reduce((all, item) => all + Math.abs(
    item.total - sumOf([item], 'paid') - sumOf([item], 'held') - sumOf([item], 'in_slots')
      - sumOf([item], 'pool')), 0);
  return html`<p class="sum">
    <${Pill} kind=${off ? 'bad' : 'good'}>${t(off ? 'adds_not_up' : 'adds_up', { n: off })}<//>
    <span>${t('sum', {
      sign: off ? '≠' : '=',
      total: count(total),
      paid: count(paid),
      held: count(held),
      slots: count(slots),
      pool: count(pool),
    })}</span>
  </p>`;
}

/** Shows where every unit is, according to one response. Shows a wrong sum in red. */
export function Flow({ sale, items, titles, stale }) {
  const counted = items.filter(isCounted);
  const unlimited = items.filter(item => !isCounted(item));
  const sum = name => sumOf(counted, name);
  const numbers = [
    ['sold', sumOf(items, 'paid')],
    ['held', sumOf(items, 'held')],
    ...(counted.length ? [['slots', sum('in_slots')], ['pool', sum('pool')]] : []),
  ];
  const parts = partsOf({
    paid: sum('paid'), held: sum('held'), in_slots: sum('in_slots'), pool: sum('pool'),
  });
  return html`<section class=${'flow card' + (stale ? ' stale' : '')} aria-labelledby="flow-title">
    <h2 class="unseen" id="flow-title">${t('flow')}</h2>
    <dl class="numbers">
      ${numbers.map(([name, units]) => html`<div><dt class=${'key key-' + name}>
        ${t('flow.' + name)}</dt><dd data-number=${name}>${count(units)}</dd></div>`)}
      <div><dt>${t('flow.left')}</dt><dd data-number="left">${counted.length
        ? count(sum('in_slots') + sum('pool')) : t('unlimited')}</dd></div>
      <div><dt>${t('waitlist')}</dt><dd data-number="waitlist">
        ${count(sumOf(items, 'waiting'))}</dd></div>
    </dl>
    ${counted.length > 0 && html`<${Bar} parts=${parts} /><${Sum} items=${counted} />`}
    ${counted.length > 0 && unlimited.length > 0 && html`<p class="soft">${t('sum_unlimited', {
      paid: count(sumOf(unlimited, 'paid')), held: count(sumOf(unlimited, 'held')) })}</p>`}
    ${(items.length > 1 || sumOf(items, 'waiting') > 0) && html`<${Table} caption=${t('items')}
      columns=${[
        [t('item'), row => titles[row.item] ?? row.item],
        [t('flow.total'), row => (isCounted(row) ? count(row.total) : t('unlimited')), 'end'],
        [t('flow.sold'), row => count(row.paid), 'end'],
        [t('flow.held'), row => count(row.held), 'end'],
        [t('flow.left'), row => (isCounted(row) ? count(row.pool + row.in_slots) : '–'), 'end'],
        [t('waitlist'), row => html`<a href=${`#/sales/${seg(sale)}/waitlist/${seg(row.item)}`}>
          ${count(row.waiting)}</a>`, 'end'],
        [t('shares'), row => isCounted(row) && html`<${Bar} parts=${partsOf(row)} kind="mini" />`],
      ]}
      rows=${items.map(item => ({ id: item.item, ...item }))} />`}
  </section>`;
}

/** The active counter, which gives out units, has a mark. */
const SubDomain = ({ units, all, active }) =>
  html`<span class="share"><${Bar} parts=${[
      [active ? 'held' : 'slots', units],
      ['none', Math.max(0, all - units)],
    ]} kind="mini" /> ${count(units)}
    ${active && html`<${Pill} kind="warn">${t('active')}<//>`}</span>`;

export const hasTwoCounters = rows => (rows ?? []).some(slot => slot.active);

/** The slots of a sale. The slots of items with unlimited stock (`unlimited`) count no units. */
export function Slots({ rows, unlimited }) {
  const has = name => slot => slot.available?.[name] ?? 0;
  const most = Math.max(1, ...(rows ?? []).flatMap(slot => [has('a')(slot), has('b')(slot)]));
  const two = hasTwoCounters(rows);
  const uncounted = slot => unlimited.has(slot.item) ? t('unlimited')
    : slot.open ? html`<${Pill} kind="bad">${t('unreachable')}<//>` : '–';
  const counter = name => [
    t('sub_domain', { name }),
    slot => slot.active && slot.available
      ? html`<${SubDomain} units=${has(name)(slot)} all=${most} active=${slot.active === name} />`
      : name === 'a' ? uncounted(slot) : '–',
  ];
  return html`<${Table} caption=${t('slots')} empty=${t('no_slots')}
    rows=${rows?.map(slot => ({ id: slot.slot, ...slot }))} columns=${[
      [t('slot'), row => html`<span class="code">${row.slot}</span>
        ${row.leaving && html` <${Pill}>${t('leaving')}<//>`}`],
      ...(two ? [counter('a'), counter('b')] : [
        [t('available'), row => row.available != null ? count(row.available) : uncounted(row),
          'end'],
      ]),
      [t('settled'), row => `${count(row.settled)} / ${count(row.granted)}`, 'end'],
      [t('refills'), row => count(row.refills), 'end'],
      [t('epoch'), row => count(row.epoch), 'end'],
    ]} />`;
}

export function Refusals({ refused, now }) {
  const rows = Object.entries(refused).sort((a, b) => b[1] - a[1]);
  const all = rows.reduce((sum, [, n]) => sum + n, 0);
  return html`<${Table} caption=${t('refusals')} empty=${t('no_refusals')}
    rows=${rows.map(([id, n]) => ({ id, n }))} columns=${[
      [t('reason'), row => t(`code.${row.id}`) === `code.${row.id}` ? row.id : t(`code.${row.id}`)],
      ...(now ? [[t('now'), row => count(now[row.id] ?? 0), 'end']] : []),
      [t('in_window'), row => count(row.n), 'end'],
      [t('share'), row => html`<span class="share"><${Bar} parts=${[
        ['slots', row.n],
        ['none', all - row.n],
      ]} kind="mini" /> ${percent(row.n, all)}</span>`],
    ]} />`;
}
