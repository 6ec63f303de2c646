/* The sandbox's checkout: one button for each thing that can happen when somebody pays. The address is all it takes. */
import { $, announce, attr, put, ready, site, text, translate } from '/assets/words.js';
import { now, setClock } from '/assets/clock.js';
import { count, left, money } from '/assets/format.js';

const PILLS = { open: 'live', paid: 'good', late: 'warn', closed: '', expired: 'bad', missing: 'bad', far: 'warn' };
const session = location.pathname.split('/')[3] ?? '';
const m = { desk: null, state: 'far', busy: false, failed: false };

/** One request; an answer that never came has status 0. */
async function call(method, what) {
  const sent = performance.now();
  try {
    const answer = await fetch(`/sandbox/checkout/${encodeURIComponent(session)}/${what}`, { method, cache: 'no-store' });
    const data = await answer.json();
    if (data.server_time) { setClock(data.server_time, sent, performance.now()); m.desk = data; }
    return answer.status;
  } catch {
    return 0;
  }
}
/** Where the shop wants its buyer back: a page, and nothing else. */
function back() {
  const url = new URL(m.desk?.return_url ?? '/', location.href);
  return ['http:', 'https:'].includes(url.protocol) ? url.href : '/';
}

function draw() {
  const { desk } = m, is_over = desk?.state === 'open' && Date.parse(desk.expires_at) <= now();
  m.state = desk ? (is_over ? 'expired' : desk.state) : m.state;
  put($('#pill'), text('xp.' + m.state));
  attr($('#pill'), 'class', 'pill' + (PILLS[m.state] ? ' pill--' + PILLS[m.state] : ''));
  put($('#state'), text('x.' + m.state));
  put($('#text'), m.failed && m.state === 'open' ? text('x.failed') : text(`x.${m.state}+`));
  const is_open = m.state === 'open';
  $('#do').hidden = $('#clock-box').hidden = !is_open;
  $('#back').hidden = is_open || !desk;
  for (const button of document.querySelectorAll('[data-does]')) attr(button, 'aria-disabled', m.busy);
  $('#slip').hidden = !desk;
  if (!desk) return;
  attr($('#back'), 'href', back());
  attr($('#leave'), 'href', back());
  put($('#slip-title'), desk.title);
  put($('#id'), desk.order);
  put($('#units'), count(desk.units));
  put($('#sum'), money(desk.amount));
  if (is_open) put($('#clock'), left(Date.parse(desk.expires_at) - now()));
}

async function press(what) {
  if (m.busy || m.state !== 'open') return;
  m.busy = true; m.failed = false; draw();
  const status = await call('POST', what);
  m.busy = false;
  m.failed = what === 'fail' && status === 200;
  draw();
  announce(m.failed ? text('x.failed') : text(status === 0 ? 'x.far+' : `x.${m.state}`), true);
  if (what === 'pay' && status === 200) location.assign(back());
}

translate();
document.title = text('x.title') + (site.shop ? ' · ' + site.shop : '');
for (const button of document.querySelectorAll('[data-does]')) button.onclick = () => press(button.dataset.does);
addEventListener('pageshow', event => { if (event.persisted) location.reload(); });
const status = await call('GET', 'state');
if (status === 404) m.state = 'missing';
draw();
ready();
setInterval(() => { if (m.desk) draw(); }, 250);
