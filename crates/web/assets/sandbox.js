/* The sandbox's checkout, with one button for each outcome of a payment. Anyone who knows the
   page's address can press the buttons. */
import {
  $, announce, attr, bindLanguages, put, ready, site, text, translate,
} from '/assets/texts.js';
import { now, setClock } from '/assets/clock.js';
import { count, left, money, shortId } from '/assets/format.js';

const PILLS = {
  open: 'live',
  failed: 'bad',
  paid: 'good',
  late: 'warn',
  closed: '',
  expired: 'bad',
  missing: 'bad',
  far: 'warn',
  barred: 'warn',
  returned: 'warn',
  disputed: 'warn',
};
const AFTER = ['return', 'dispute'];
const session = location.pathname.split('/')[3] ?? '';
const m = { desk: null, state: 'far', busy: false, failed: false, barred: false };

/** Without an answer, the status is 0. */
async function call(method, what) {
  const sent = performance.now();
  try {
    const answer = await fetch(`/sandbox/checkout/${encodeURIComponent(session)}/${what}`, {
      method,
      cache: 'no-store',
    });
    const data = await answer.json();
    if (data.server_time) {
      setClock(data.server_time, sent, performance.now());
      m.desk = data;
    }
    return answer.status;
  } catch {
    return 0;
  }
}
/** Returns the address of the shop's page to which the buyer goes back. `what` is `paid` or `left`,
   as for a real provider, and only chooses the text of that page. */
function back(what) {
  const url = new URL(m.desk?.return_url ?? '/', location.href);
  if (!['http:', 'https:'].includes(url.protocol)) return '/';
  url.searchParams.set('back', what);
  return url.href;
}

function draw() {
  const { desk } = m,
    is_over = desk?.state === 'open' && Date.parse(desk.expires_at) <= now();
  m.state = desk ? (is_over ? 'expired' : desk.state) : m.state;
  const says = !['open', 'paid'].includes(m.state)
    ? m.state
    : m.barred
      ? 'barred'
      : m.failed
        ? 'failed'
        : m.state;
  put($('#pill'), text('xp.' + says));
  attr($('#pill'), 'class', 'pill' + (PILLS[says] ? ' pill--' + PILLS[says] : ''));
  put($('#state'), text('x.' + says));
  put($('#text'), text(`x.${says}+`));
  const is_open = m.state === 'open';
  $('#do').hidden = $('#clock-box').hidden = !is_open;
  $('#back').hidden = is_open || !desk;
  $('#after').hidden = m.state !== 'paid';
  for (const button of document.querySelectorAll('[data-does]'))
    attr(button, 'aria-disabled', m.busy);
  attr($('#pay'), 'data-mode', m.busy ? 'busy' : 'go');
  $('#slip').hidden = !desk;
  if (!desk) return;
  attr(
    $('#back'),
    'href',
    back(['paid', 'late', 'returned', 'disputed'].includes(m.state) ? 'paid' : 'left'),
  );
  attr($('#leave'), 'href', back('left'));
  put($('#slip-title'), desk.title);
  put($('#id'), shortId(desk.order));
  attr($('#id'), 'title', desk.order);
  put($('#units'), count(desk.units));
  put($('#sum'), money(desk.amount));
  put(
    $('#pay').firstElementChild,
    text(m.busy ? 'x.paying' : 'x.pay', { sum: money(desk.amount) }),
  );
  if (is_open) put($('#clock'), left(Date.parse(desk.expires_at) - now()));
}

async function press(what) {
  if (m.busy || m.state !== (AFTER.includes(what) ? 'paid' : 'open')) return;
  m.busy = true;
  m.failed = false;
  draw();
  const status = await call('POST', what);
  m.busy = false;
  m.failed = what === 'fail' && status === 200;
  m.barred = status === 403; /* the server's operator switched the buttons off */
  draw();
  if (m.failed || m.barred) $('#state').scrollIntoView({ block: 'center' });
  const told = m.failed ? 'x.failed' : m.barred ? 'x.barred' : null;
  announce(
    told ? text(told) + '. ' + text(told + '+') : text(status === 0 ? 'x.far+' : `x.${m.state}`),
    true,
  );
  if (what === 'pay' && status === 200) location.assign(back('paid'));
}

const nameTab = () => {
  document.title = text('x.title') + (site.shop ? ' · ' + site.shop : '');
};
translate();
nameTab();
bindLanguages(() => {
  nameTab();
  draw();
});
for (const button of document.querySelectorAll('[data-does]'))
  button.onclick = () => press(button.dataset.does);
addEventListener('pageshow', event => {
  if (event.persisted) location.reload();
});
const status = await call('GET', 'state');
if (status === 404) m.state = 'missing';
draw();
ready();
setInterval(() => {
  if (m.desk) draw();
}, 250);
