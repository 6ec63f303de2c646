/* The cards of the list of sales. Each card shows a sale or an order. */
import { chosen, speak, text } from '/assets/texts.js';
import { now } from '/assets/clock.js';
import { money, shortWhen, when, wholeTime } from '/assets/format.js';
import { LOOKS, sceneOfStatus } from '/assets/scene.js';

export function make(tag, className, words = '') {
  const el = document.createElement(tag);
  if (className) el.className = className;
  el.textContent = words;
  return el;
}
/* The light of the drawn door shows the phase, as on the sale page. */
function door(light) {
  const svg = (name, attributes) => {
    const el = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) el.setAttribute(key, value);
    return el;
  };
  const el = svg('svg', {
    class: 'door',
    viewBox: '0 0 72 84',
    'aria-hidden': 'true',
    'data-light': light,
  });
  el.append(
    svg('path', { d: 'M18 84V40a18 18 0 0 1 36 0v44', fill: '#3a2f20' }),
    svg('path', { class: 'door__light', d: 'M18 84V40a18 18 0 0 1 36 0v44z' }),
    svg('path', {
      d: 'M18 84V40a18 18 0 0 1 36 0v44',
      fill: 'none',
      stroke: '#4d402c',
      'stroke-width': 4,
    }),
  );
  return el;
}
export function ticket({ href, title, units, pill, tone, price, words, picture, level }) {
  const li = make('li'),
    card = make('article', 'card ticket'),
    body = make('div'),
    head = make(level),
    [shown, language] = chosen(title),
    a = make('a', '', shown);
  a.href = href;
  speak(a, language);
  head.append(...(units ? [`${units} × `] : []), a);
  body.append(make('span', 'pill' + (tone ? ' pill--' + tone : ''), pill), head);
  if (price) body.append(make('p', 'ticket__price', price));
  body.append(make('p', 'soft small ticket__words', words));
  card.append(picture, body);
  li.append(card);
  return li;
}
/** Returns the sale's first picture or, without one, a drawn door whose light shows the state. */
export function pictureOf(sale, light) {
  const image = sale?.items?.find(i => i.image)?.image;
  if (!image) return door(light);
  const img = make('img', 'slip__thumb');
  Object.assign(img, {
    src: image,
    alt: '',
    loading: 'lazy',
    onerror: () => img.replaceWith(door(light)),
  });
  return img;
}

export const stateOf = ({ status }) =>
  sceneOfStatus(
    status,
    status.items.map(item => item.state),
  );
const ranks = ['live', 'out', 'paused', 'before', 'sold', 'ended'];
/** Sorts the sales by state, in the order of `ranks`. Sorts coming sales by their opening times
   too. All other sales of one state keep their order. */
export function inOrder(sales) {
  const opens = sale => Date.parse(sale.starts_at) || Infinity;
  const rows = sales.map(sale => ({ sale, state: stateOf(sale) }));
  rows.sort(
    (a, b) =>
      ranks.indexOf(a.state) - ranks.indexOf(b.state) ||
      (a.state === 'before' && opens(a.sale) !== opens(b.sale)
        ? opens(a.sale) - opens(b.sale)
        : 0),
  );
  return rows.map(({ sale }) => sale);
}
/* If the items have different prices, returns "from" with the lowest price. */
function priceOf({ items }) {
  const cheapest = items.reduce((a, b) => (b.price.amount_minor < a.price.amount_minor ? b : a));
  const price = money(cheapest.price);
  return items.every(item => item.price.amount_minor === cheapest.price.amount_minor)
    ? price
    : text('l.from', { price });
}
export function saleTicket(sale) {
  const state = stateOf(sale),
    opens = Date.parse(sale.starts_at),
    closes = Date.parse(sale.ends_at);
  const v = {
    opens: opens ? (state === 'before' ? shortWhen(opens) : when(opens)) : '',
    closes: closes ? when(closes) : '',
  };
  const isAhead = opens > now();
  const pill = text(state === 'before' && !isAhead ? 'l.soon' : 'l.' + state, v);
  const words =
    state === 'ended'
      ? closes && closes <= now()
        ? text('l.closed', v)
        : ''
      : state === 'before'
        ? isAhead
          ? wholeTime(opens)
          : ''
        : closes > now()
          ? text('l.until', v)
          : state === 'live' && opens <= now()
            ? text('l.started', v)
            : '';
  return ticket({
    href: '/sale/' + encodeURIComponent(sale.id),
    title: sale.title,
    pill,
    tone: LOOKS[state].tone,
    price: priceOf(sale),
    words,
    level: 'h2',
    picture: pictureOf(sale, LOOKS[state].light),
  });
}
