/* Shows the model of the sale page. Each state fills the same elements, so that nothing jumps. */
import { claimsOf } from '/assets/who.js';
import {
  $, text, has, put, putText, attr, announce, countAloud, localized, site,
} from '/assets/words.js';
import { showFacts, showPictures, watchPrice } from '/assets/product.js';
import { now } from '/assets/clock.js';
import { remind } from '/assets/remind.js';
import {
  count, estimate, fullTime, left, moment, money, shopTime, shortTime, shortWhen, span, time,
  zone,
} from '/assets/format.js';
import {
  canWaitlist,
  dealOf,
  ends,
  frontOf,
  isAdmitted,
  most,
  sceneOf,
  shadeOf,
  starts,
  usedUp,
} from '/assets/sale-state.js';
import { showStock } from '/assets/sale-stock.js';

/* The picture of each scene, and its label with the tone. */
const scenes = {
  before: { light: 'before', pill: 'before' },
  due: { light: 'before', pill: 'soon' },
  live: { light: 'on', pill: 'live', tone: 'live' },
  out: { light: 'low', pill: 'out', tone: 'warn' },
  sold: { light: 'off', pill: 'sold' },
  paused: { light: 'low', pill: 'paused', tone: 'warn' },
  ended: { light: 'off', pill: 'ended' },
};
/* For each deal, the mode of the button, whether the buyer may choose units, and the second action.
   `act` runs on this page, and `see` opens another page. */
const deals = {
  before: { mode: 'wait', pick: true },
  due: { mode: 'wait', pick: true },
  live: { mode: 'go', pick: true },
  asking: { mode: 'busy' },
  queued: { mode: 'busy' },
  retrying: { mode: 'busy' },
  cooldown: { mode: 'refill', until: 'calm_ms', pick: true },
  busy: { mode: 'refill', until: 'busy_ms', pick: true },
  reserved: { mode: 'order', tone: 'good', act: 'again' },
  paid: { mode: 'order', tone: 'good', act: 'again' },
  lapsed: { mode: 'order', act: 'again' },
  heldout: { mode: 'wait' },
  waitlisted: { mode: 'busy', act: 'leave' },
  soldout: { mode: 'wait', see: '/' },
  limit: { mode: 'wait', see: '/#orders' },
  check: { mode: 'go', pick: true },
  code: { mode: 'go', pick: true },
  join: { mode: 'go', pick: true },
  waiting: { mode: 'busy', pick: true, act: 'quit' },
  gone: { mode: 'wait', pick: true, act: 'quit' },
  members: { mode: 'wait', act: 'anew' },
  level: { mode: 'wait', act: 'anew' },
  blocked: { mode: 'wait', act: 'anew' },
  signin: { mode: 'signin' },
  nosignin: { mode: 'wait' },
  paused: { mode: 'wait' },
  ended: { mode: 'wait', see: '/#orders' },
  offline: { mode: 'wait', tone: 'bad', act: 'retry' },
};
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
/* The length of a long title. A Chinese character counts as two letters. A longer title is set
   smaller, so that the button stays in view. */
const LONG_TITLE = 28;
/* A longer time is set smaller, so that it fits beside the server's time. */
const LONG_DIGITS = 12;
const widthOf = words => words.replace(/[\u2e80-\uffef]/g, '??').length;
const buy = $('#buy'),
  go = $('#go');
const steps = ['check', 'code', 'waiting']; /* announced when the buyer has done them */
const HOUR_MS = 3_600_000;
const WAITLIST_HOLD_SECS = 300; /* the longest time to pay for a unit that came back */
let shown = '',
  before = '';

/** Shows the parts that depend only on the item: texts, picture and price. */
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

/** Shows the choice of an item, if the sale has several. */
export function showItems(m, choose) {
  watchPrice();
  $('#items').hidden = m.sale.items.length < 2;
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
  showItem(m);
}

function values(m, deal, t) {
  const opens = starts(m),
    closes = ends(m),
    item = m.item;
  const until =
    deal === 'retrying'
      ? m.retry_ms
      : deal === 'heldout'
        ? m.busy_ms
        : deals[deal].until
          ? m[deals[deal].until]
          : t;
  const ours = deals[deal].mode === 'order' ? m.order : null,
    units = m.press?.units ?? ours?.units ?? m.units;
  const by = deal === 'queued' ? m.press?.decide_by : m.order?.pay_by;
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
    until: m.room?.until_ms ? time(m.room.until_ms) : '',
    ahead: m.waitlist[m.item.id]?.ahead ?? 0,
    pay: span(Math.min(item.hold_secs || WAITLIST_HOLD_SECS, WAITLIST_HOLD_SECS)),
    left: opens ? left(opens - t) : '',
    s: Math.max(0, Math.ceil((until - t) / 1000)),
  };
}
/* Returns the texts of a deal. While the button rests after a refusal, the refusal has its own
   title and text. The button keeps the words of the state. */
function wordsOf(m, deal, part) {
  const shade = shadeOf(m, deal);
  if (shade && has(`${shade}.${part}`)) return `${shade}.${part}`;
  if (deal === 'cooldown' && part !== 'button') {
    const key = `${m.why?.name ?? 'again'}.${part}`;
    if (has(key)) return key;
  }
  if (deal === 'heldout' && part === 'button' && canWaitlist(m, deal)) return 'joinable.button';
  if (deal === 'ended' && part === 'title' && !(ends(m) && ends(m) <= now())) return 'endedx.title';
  if (deal === 'before' && !starts(m)) return 'undated.' + part;
  return `${deal}.${part}`;
}

/* The words of the clock if the page waits for no time. */
const STATE_WORDS = { out: 'clock.out', sold: 'clock.soldout', paused: 'clock.paused' };
/* Returns whether it is this buyer's turn. */
const inTurn = (m, scene, deal, t) =>
  ['live', 'check', 'code', 'cooldown', 'busy'].includes(deal) &&
  scene !== 'before' &&
  isAdmitted(m, t) &&
  !!m.room.until_ms;

function showClock(m, scene, deal, t) {
  const opens = starts(m),
    closes = ends(m);
  let label = 'state',
    digits = text(STATE_WORDS[scene] ?? 'clock.open');
  if (deal === 'reserved') {
    label = 'pay';
    digits = left(Date.parse(m.order.pay_by) - t);
  } else if (deal === 'waitlisted') {
    const { ahead } = m.waitlist[m.item.id];
    label = 'position';
    digits = ahead === null ? text('clock.none') : count(ahead + 1);
  } else if (deal === 'waiting' || deal === 'gone') {
    label = 'position';
    digits = m.room?.position ? count(m.room.position) : text('clock.none');
  } else if (inTurn(m, scene, deal, t)) {
    label = 'turn';
    digits = left(m.room.until_ms - t);
  }
  /* The button shows the step of the front door, so the clock counts down to the start. */
  else if (scene === 'before' && ['check', 'code'].includes(deal) && opens && opens - t < HOUR_MS) {
    label = 'in';
    digits = left(opens - t);
  } else if (scene === 'before' || scene === 'due') {
    label = opens ? 'before' : 'state';
    digits = opens ? shortTime(opens) : text('pill.undated');
  } else if (scene === 'ended') {
    label = closes && closes <= t ? 'ended' : 'state';
    digits = closes && closes <= t ? shortTime(closes) : text('clock.shut');
  } else if (['paused', 'sold'].includes(scene)) {
    /* The clock shows the state itself, because there is no time to wait for. */
  } else if (closes) {
    label = 'live';
    digits = left(closes - t);
  } else if (opens && opens <= t && scene === 'live') {
    label = 'opened';
    digits = shortTime(opens);
  }
  put($('#clock-label'), text('clock.' + label));
  put($('#clock'), digits);
  $('#clock').toggleAttribute('data-long', widthOf(digits) > LONG_DIGITS);
  put($('#server'), time(t) + ' ' + zone(t));
  /* This is the whole date of the time that matters now, in the visitor's zone and in the shop's
     zone. */
  const key = scene === 'before' || scene === 'due' ? 'opens' : closes ? 'closes' : 'opened',
    whole = key === 'closes' ? closes : opens,
    shop = whole ? shopTime(whole, site.time_zone) : null;
  $('#full-time').classList.toggle('is-off', !whole);
  if (whole)
    put($('#full-time'), text('clock.' + key + '+', { t: fullTime(whole) }));
  $('#shop-time').hidden = !shop;
  if (shop) put($('#shop-time'), text('clock.shop', { t: shop }));
  const aim =
    deal === 'reserved'
      ? Date.parse(m.order.pay_by)
      : label === 'turn'
        ? m.room.until_ms
        : scene === 'before'
          ? opens
          : null;
  if (aim)
    countAloud(
      text(deal === 'reserved' ? 'clock.pay' : label === 'turn' ? 'clock.turn' : 'say.opens'),
      Math.ceil((aim - t) / 1000),
    );
}

function showButton(m, deal, t, v) {
  const plan = deals[deal],
    away = plan.mode === 'order' || plan.mode === 'signin',
    on = away ? go : buy;
  const focused = document.activeElement === buy || document.activeElement === go;
  go.hidden = !away;
  buy.hidden = away;
  if (away)
    attr(
      go,
      'href',
      plan.mode === 'order' ? '/order/' + encodeURIComponent(m.order.id) : m.sign_in_url,
    );
  const mode = plan.mode === 'wait' && canWaitlist(m, deal, t) ? 'go' : plan.mode;
  if (buy.dataset.mode !== mode && !away) {
    buy.style.setProperty('--refill', Math.max(1, v.s) + 's');
    buy.dataset.mode = mode;
  }
  attr(buy, 'aria-disabled', mode !== 'go');
  put(on.firstElementChild, text(wordsOf(m, deal, 'button'), v));
  /* Another button is now in the same position, so the other button takes the focus. */
  if (focused && document.activeElement !== on) on.focus({ preventScroll: true });
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

/** Draws the page from the model. It is fast enough for four calls a second. Returns the deal that
   it shows. */
export function show(m) {
  const t = now(),
    scene = sceneOf(m, t),
    deal = dealOf(m, scene, t),
    plan = deals[deal],
    v = values(m, deal, t);
  const look = { ...scenes[scene] };
  if (deal === 'reserved') Object.assign(look, { light: 'on', pill: 'yours', tone: 'live' });
  if (deal === 'offline') Object.assign(look, { pill: 'offline', tone: 'warn' });
  if (deal === 'waiting') Object.assign(look, { pill: 'waitingroom', tone: 'live' });
  if (deal === 'gone') Object.assign(look, scenes.out);
  if (deal === 'waitlisted') Object.assign(look, { pill: 'waitlisted', tone: 'live' });
  if (inTurn(m, scene, deal, t)) Object.assign(look, { pill: 'turn', tone: 'live' });
  if (look.pill === 'before' && !starts(m)) look.pill = 'undated';
  attr($('#stage'), 'data-light', look.light);
  attr($('#pill'), 'class', 'pill needs-js' + (look.tone ? ' pill--' + look.tone : ''));
  put($('#pill'), text('pill.' + look.pill, v));
  showClock(m, scene, deal, t);
  showStock(m, scene, deal, t);
  showUnits(m, !!plan.pick);
  showButton(m, deal, t, v);

  attr($('#say'), 'class', 'say' + (plan.tone ? ' say--' + plan.tone : ''));
  const title = text(wordsOf(m, deal, 'title'), v),
    words = text(wordsOf(m, deal, 'text'), v).trim();
  put($('#say-title'), title);
  put($('#say-text'), words);
  const act = $('#act'),
    see = $('#see'),
    hadAct = document.activeElement === act;
  /* If the token's claims exclude the buyer, a new check is useless: the claims do not change. */
  act.hidden =
    !plan.act ||
    (plan.act === 'anew' && !m.barred) ||
    (plan.act === 'again' && deal !== 'lapsed' && usedUp(m));
  attr(act, 'aria-disabled', plan.act === 'leave' && (!!m.waitlistBusyItem || t < m.busy_ms));
  see.hidden = !plan.see || (plan.see !== '/' && !m.token);
  $('#link').hidden = !act.hidden || !see.hidden;
  if (plan.act) {
    put(act, text(plan.act === 'quit' ? 'room.leave' : deal + '.action'));
    act.dataset.does = plan.act;
  }
  if (plan.see) {
    put(see, text(deal + '.action'));
    attr(see, 'href', plan.see);
  }
  if (hadAct && act.hidden) (go.hidden ? buy : go).focus();

  const state = [
    scene,
    deal,
    shadeOf(m, deal, t),
    deal === 'cooldown'
      ? m.why?.name
      : deal === 'waiting'
        ? v.est
        : deal === 'waitlisted'
          ? v.ahead
          : '',
  ].join(' ');
  if (shown && shown !== state)
    announce(
      title + '. ' + words,
      verdicts.includes(deal) || (deal === 'live' && steps.includes(before)),
    );
  shown = state;
  before = deal;
  remind(m, scene, deal, t, inTurn(m, scene, deal, t));
  return deal;
}
