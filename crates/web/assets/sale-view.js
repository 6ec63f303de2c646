/* Shows the model of the sale page. Each state fills the same elements, so that nothing jumps. */
import { origin } from '/assets/api.js';
import { claimsOf } from '/assets/who.js';
import {
  $, text, put, putText, attr, announce, countAloud, localized, site, zh,
} from '/assets/texts.js';
import { showFacts, showPictures, watchPrice } from '/assets/product.js';
import { now } from '/assets/clock.js';
import { remind } from '/assets/remind.js';
import {
  count, estimate, fullTime, left, moment, money, shopTime, shortTime, shortWhen, span, time,
  zone,
} from '/assets/format.js';
import { frontOf, most, starts, ends } from '/assets/sale-state.js';
import { screenOf } from '/assets/sale-screen.js';

const verdicts = [
  'reserved',
  'paid',
  'lapsed',
  'soldout',
  'heldout',
  'waitlisted',
  'limit',
  'cooldown',
  'busy',
  'gone',
  'blocked',
];
/* A longer title has a smaller font, so that the button stays in view. A Chinese character counts
   as two letters. */
const LONG_TITLE = 28;
/* A name with more characters does not fit into half the width of a phone. */
const LONG_NAME = 14;
/* A longer clock has a smaller font, so that it fits beside the server's time. */
const LONG_DIGITS = 12;
const widthOf = words => words.replace(/[\u2e80-\uffef]/g, '??').length;
const buy = $('#buy'),
  go = $('#go');
const steps = ['check', 'code', 'waiting']; /* after one of these, `live` is announced at once */
const WAITLIST_HOLD_SECS = 300; /* the longest time to pay for a unit that came back */
let shown = '',
  before = '';

/** Shows the parts that depend only on the item: texts, pictures and price. */
export function showItem(m) {
  const { sale, item } = m;
  const title = localized(item.title),
    edition = localized(sale.title);
  putText($('#edition'), edition === title ? '' : sale.title);
  putText($('#name'), item.title);
  $('#name').toggleAttribute('data-long', widthOf(title) > LONG_TITLE);
  putText($('#lead'), item.description);
  $('#lead').hidden = !localized(item.description);
  showFacts(item);
  put($('#bar-name'), title);
  put($('#bar-price'), money(item.price));
  put($('#price'), money(item.price));
  $('#before').hidden = !item.list_price;
  if (item.list_price) put($('#was'), money(item.list_price));
  put($('#rule'), text('rule', { limit: item.limit_per_buyer ?? 1 }));
  $('.stepper').toggleAttribute('data-wide', (item.limit_per_buyer ?? 1) > 999);
  put(
    $('#how-hold'),
    item.hold_secs ? text('how.3t', { hold: span(item.hold_secs) }) : text('how.3'),
  );
  m.title = edition === title ? title : `${title} – ${edition}`;
  showPictures(item);
  for (const input of document.querySelectorAll('#items input'))
    input.checked = input.value === item.id;
}

/** If the sale has several items, lets the buyer choose one. */
export function showItems(m, choose) {
  watchPrice();
  $('#items').hidden = m.sale.items.length < 2;
  markLongNames(m);
  $('#items-list').replaceChildren(
    ...m.sale.items.map(item => {
      const label = document.createElement('label'),
        input = document.createElement('input');
      const name = document.createElement('span'),
        more = document.createElement('span');
      label.className = 'item';
      name.className = 'item__name';
      more.className = 'item__more';
      Object.assign(input, { type: 'radio', name: 'item', value: item.id });
      input.onclick = event => {
        if (input.getAttribute('aria-disabled') === 'true') event.preventDefault();
      };
      input.onchange = () => choose(item.id);
      more.dataset.item = item.id;
      label.append(input, name, more);
      nameItem(label, item);
      return label;
    }),
  );
}
/* Gives each item the whole width if the list has long names. */
const markLongNames = m =>
  $('#items-list').toggleAttribute(
    'data-long',
    m.sale.items.some(item => widthOf(localized(item.title)) > LONG_NAME),
  );
function nameItem(label, item) {
  putText($('.item__name', label), item.title);
  label.title = localized(item.title);
}
/** Shows the sale's texts in the page's new language. */
export function translateItem(m) {
  for (const label of document.querySelectorAll('#items-list label'))
    nameItem(
      label,
      m.sale.items.find(item => item.id === $('input', label).value),
    );
  markLongNames(m);
  showItem(m);
}

function values(m, { buyerState, mode, until }, t) {
  const opens = starts(m),
    closes = ends(m),
    item = m.item;
  const ours = mode === 'order' ? m.order : null,
    units = m.press?.units ?? ours?.units ?? m.units;
  const by = buyerState === 'queued' ? m.press?.decide_by : m.order?.pay_by;
  return {
    units,
    sum: ours?.amount ? money(ours.amount) : money(item.price, units),
    limit: item.limit_per_buyer ?? 1,
    rest: most(m),
    ...m.why,
    opens: opens ? shortWhen(opens) : '',
    closed: closes ? shortWhen(closes) : '',
    by: by ? moment(Date.parse(by)) : '',
    need: frontOf(m).min_level,
    level: claimsOf(m.token).level ?? 0,
    est: m.room?.estimate ? estimate(m.room.estimate) : '',
    until: m.room?.until_ms ? moment(m.room.until_ms) : '',
    ahead: m.waitlist[m.item.id]?.ahead ?? 0,
    pay: span(Math.min(item.hold_secs || WAITLIST_HOLD_SECS, WAITLIST_HOLD_SECS)),
    left: opens ? left(opens - t) : '',
    s: Math.max(0, Math.ceil((until - t) / 1000)),
  };
}

function showClock({ clock, date, aloud, t }) {
  const digits =
    'left' in clock
      ? left(clock.left)
      : 'time' in clock
        ? shortTime(clock.time)
        : 'count' in clock
          ? clock.count === null
            ? text('clock.none')
            : count(clock.count)
          : text(clock.text);
  put($('#clock-label'), text('clock.' + clock.label));
  put($('#clock'), digits);
  $('#clock').toggleAttribute('data-long', widthOf(digits) > LONG_DIGITS);
  put($('#server'), time(t) + ' ' + zone(t));
  /* The time that matters now, in the visitor's zone and in the shop's zone. */
  const shop = shopTime(date?.at ?? t, site.time_zone);
  $('#full-time').classList.toggle('is-off', !date);
  if (date) put($('#full-time'), text(`clock.${date.key}+`, { t: fullTime(date.at) }));
  $('#shop-time').hidden = !shop;
  $('#shop-time').classList.toggle('is-off', !date);
  if (shop && date) put($('#shop-time'), text('clock.shop', { t: shop }));
  if (aloud) countAloud(text(aloud.key), Math.ceil((aloud.at - t) / 1000));
}

function showStock({ words, more, values, bar }, seen_ms) {
  const v = { ...values, seen: moment(seen_ms) };
  put($('#stock'), text(words, v));
  put($('#stock-more'), more ? text(more, v) : '');
  $('#bar').classList.toggle('is-off', !bar);
  const { sold, held } = bar ?? { sold: 0, held: 0 };
  attr($('#bar-sold'), 'width', sold);
  attr($('#bar-held'), 'x', sold);
  attr($('#bar-held'), 'width', held);
}

function showButton(m, { mode, button }, v) {
  const away = mode === 'order' || mode === 'signin',
    on = away ? go : buy;
  const focused = document.activeElement === buy || document.activeElement === go;
  go.hidden = !away;
  buy.hidden = away;
  if (away)
    attr(
      go,
      'href',
      mode === 'order' ? '/order/' + encodeURIComponent(m.order.id) : m.sign_in_url,
    );
  else if (buy.dataset.mode !== mode) {
    buy.style.setProperty('--refill', Math.max(1, v.s) + 's');
    buy.dataset.mode = mode;
  }
  attr(buy, 'aria-disabled', mode !== 'go');
  put(on.firstElementChild, text(button, v));
  /* The new button gets the focus of the button that it replaced. */
  if (focused && document.activeElement !== on) on.focus({ preventScroll: true });
}

function showAction(m, { buyerState, act: does, see: page, action, t }) {
  const act = $('#act'),
    see = $('#see'),
    hadAct = document.activeElement === act;
  act.hidden = !does;
  attr(act, 'aria-disabled', does === 'leave' && (!!m.waitlistBusyItem || t < m.busy_ms));
  see.hidden = !page;
  $('#link').hidden = !act.hidden || !see.hidden;
  if (does) {
    put(act, text(action));
    act.dataset.does = does;
  }
  if (page) {
    put(see, text(buyerState + '.action'));
    attr(see, 'href', page);
  }
  if (hadAct && act.hidden) (go.hidden ? buy : go).focus();
}

function showUnits(m, pick) {
  const field = $('#units'),
    top = most(m);
  if (m.units > top) m.units = top;
  attr(field, 'max', top);
  if (document.activeElement !== field || field.readOnly) field.value = m.press?.units ?? m.units;
  field.readOnly = !pick;
  attr($('#fewer'), 'aria-disabled', !pick || m.units <= 1);
  attr($('#more'), 'aria-disabled', !pick || m.units >= top);
  for (const more of document.querySelectorAll('.item__more')) {
    const item = m.sale.items.find(i => i.id === more.dataset.item),
      state = m.status.items?.find(r => r.item === item.id)?.state;
    put(
      more,
      state === 'sold_out'
        ? text('pill.sold')
        : state === 'held_out'
          ? text('pill.out')
          : money(item.price),
    );
    attr(more.parentElement.firstElementChild, 'aria-disabled', !!m.press);
  }
}

const calendarLink = m =>
  `${origin}/sale/${encodeURIComponent(m.id)}/calendar.ics?lang=${zh() ? 'zh' : 'en'}`;

/** Draws the page, and returns the buyer state that it shows. The page draws four times a second,
   so this function must be fast. */
export function show(m) {
  const t = now(),
    screen = screenOf(m, t),
    { scene, buyerState, variant } = screen,
    v = values(m, screen, t);
  attr($('#stage'), 'data-light', screen.light);
  attr($('#pill'), 'class', 'pill needs-js' + (screen.tone ? ' pill--' + screen.tone : ''));
  put($('#pill'), text('pill.' + screen.pill, v));
  showClock(screen);
  showStock(screen.stock, m.seen_ms);
  showUnits(m, screen.pick);
  showButton(m, screen, v);

  attr($('#say'), 'class', 'say' + (screen.say_tone ? ' say--' + screen.say_tone : ''));
  const title = text(screen.title, v),
    words = text(screen.text, v).trim();
  put($('#say-title'), title);
  put($('#say-text'), words);
  showAction(m, screen);

  const more = { cooldown: m.why?.name, waiting: v.est, waitlisted: v.ahead }[buyerState] ?? '';
  const state = [scene, buyerState, variant, more].join(' ');
  if (shown && shown !== state)
    announce(
      title + '. ' + words,
      verdicts.includes(buyerState) || (buyerState === 'live' && steps.includes(before)),
    );
  shown = state;
  before = buyerState;
  $('#remind').hidden = scene === 'ended' || scene === 'sold';
  $('#calendar').hidden = !starts(m);
  attr($('#calendar'), 'href', calendarLink(m));
  remind({ ...screen, id: m.id, title: m.title });
  return buyerState;
}
