/* The check: a puzzle or a picture, as the sale requires. A buyer who cannot use pictures lets the
   device compute a proof of work instead. Even a wrong answer uses up a challenge, so the page then
   fetches the next one at once. */
import { $, announce, attr, tell, text } from '/assets/texts.js';
import { askForChallenge } from '/assets/api.js';
import { now } from '/assets/clock.js';
import { browser } from '/assets/store.js';

const NUDGE_PX = 2,
  SPOKEN_SHARE = 0.25;
const dialog = $('#check'),
  range = $('#slide'),
  typed = $('#typed'),
  piece = $('#piece'),
  home = $('#announce').parentElement;
const tabs = [$('#tab-seen'), $('#tab-work')];
let work = null; /* the open check: { sale, token, kind, attempt, refused } */
let challenge = null; /* the challenge on the page, until it is used up */
let way = 'seen'; /* 'seen' is a puzzle or a picture; 'work' is a proof of work */
let turn = 0; /* if `turn` changes after a request, the answer to this request is ignored */
let worker = null,
  over = 0;

const kindNow = () => (way === 'work' ? 'pow' : work.kind);
/* Does not set aria-busy, because screen readers would then not read the content. */
const busy = on => {
  attr(dialog, 'data-busy', on);
  for (const b of ['#check-send', '#check-new', '#work-start']) attr($(b), 'aria-disabled', on);
};
const free = el => el.getAttribute('aria-disabled') !== 'true';
function say(key, values) {
  tell($('#check-said'), key, values);
  if (key) announce(text(key, values), true);
}

/** Opens the dialog. `attempt(solved)` sends an answer. It returns `done` or `again` or, if the
   result is unknown, `lost`. After a refusal for another reason, `attempt` closes the dialog. If
   the server gives no challenge, `refused(answer)` closes the dialog. */
export function openCheck(what) {
  work = what;
  if (!dialog.open) {
    dialog.showModal();
    dialog.append($('#announce')); /* screen readers read only the open dialog */
  }
  choose(work.kind === 'pow' || browser.get('check') === 'pow' ? 'work' : 'seen');
  ($('#ways').hidden ? $('#work-start') : tabs.find(t => t.tabIndex === 0)).focus();
}
export const isOpen = () => dialog.open;
export function closeCheck() {
  if (dialog.open) dialog.close();
}
dialog.onclose = () => {
  if (dialog.open) return; /* the dialog has opened again since, and openCheck() has reset it */
  turn += 1;
  challenge = null;
  clearTimeout(over);
  stopWork();
  /* If another dialog has opened since, the live region is in that dialog. */
  if (dialog.contains($('#announce'))) home.append($('#announce'));
};

/* ----- the kind of check ----- */

function lay() {
  const kind = kindNow();
  $('#ways').hidden = work.kind === 'pow';
  for (const [tab, mine] of [
    [tabs[0], 'seen'],
    [tabs[1], 'work'],
  ]) {
    attr(tab, 'aria-selected', mine === way);
    tab.tabIndex = mine === way ? 0 : -1;
  }
  tell(tabs[0], work.kind === 'image' ? 'check.image' : 'check.slide');
  attr(tabs[0], 'aria-controls', work.kind === 'image' ? 'way-image' : 'way-slide');
  for (const [id, mine] of [
    ['#way-slide', 'slider'],
    ['#way-image', 'image'],
    ['#way-work', 'pow'],
  ])
    $(id).hidden = mine !== kind;
  attr(
    $('#way-work'),
    'aria-labelledby',
    $('#ways').hidden ? 'check-title' : 'tab-work',
  ); /* hidden fields are not validated */
  $('#check-new').hidden = $('#check-send').hidden = way === 'work';
  $('#work-start').hidden = way !== 'work';
  $('#check-hard').hidden = way === 'work';
}
function choose(next) {
  way = next;
  lay();
  turn += 1;
  challenge = null;
  clearTimeout(over);
  stopWork();
  say('');
  busy(false);
  if (way === 'seen') fresh();
}
for (const [tab, mine] of [
  [tabs[0], 'seen'],
  [tabs[1], 'work'],
])
  tab.onclick = () => {
    if (way === mine) return;
    browser.set('check', mine === 'work' ? 'pow' : null);
    choose(mine);
  };
$('#ways').onkeydown = e => {
  if (!['ArrowLeft', 'ArrowRight', 'Home', 'End'].includes(e.key)) return;
  e.preventDefault();
  const other = tabs.find(t => t.tabIndex !== 0);
  other.onclick();
  other.focus();
};

/* ----- a new challenge ----- */

/** Fetches a challenge and tells the buyer why there is a new one. Returns whether the challenge
   arrived. */
async function fresh(why = '', focus = false) {
  const mine = ++turn;
  challenge = null;
  clearTimeout(over);
  busy(true);
  const answer = await askForChallenge(work.token, work.sale, way === 'work' ? 'pow' : null);
  if (mine !== turn) return false;
  busy(false);
  const { status, data } = answer;
  if (status === 201 && way === 'seen' && data.kind !== work.kind) {
    work.kind = data.kind;
    if (work.kind === 'pow') {
      choose('work');
      return false;
    }
    lay();
  }
  if (status === 201) {
    challenge = data;
    over = setTimeout(tooLate, Math.max(0, Date.parse(data.expires_at) - now()));
    if (way === 'seen') paint(data);
    say(why);
    if (focus) (work.kind === 'image' ? typed : range).focus();
    return true;
  }
  if (status === 429) say('check.wait', { s: answer.retry_secs ?? 10 });
  else if (status === 0 || status >= 500) say('check.lost');
  else work.refused(answer);
  return false;
}
function tooLate() {
  turn += 1;
  challenge = null;
  stopWork();
  busy(false);
  for (const el of dialog.querySelectorAll('.puzzle')) el.classList.add('is-over');
  say('check.over');
}
function paint(data) {
  for (const el of dialog.querySelectorAll('.puzzle')) el.classList.remove('is-over');
  if (data.kind === 'image') {
    const { image: src, width, height } = data;
    Object.assign($('#letters'), { src, ...(width && height && { width, height }) });
    typed.value = '';
    return;
  }
  const svg = $('#puzzle'),
    { width, height } = data;
  attr(svg, 'viewBox', `0 0 ${width} ${height}`);
  for (const [el, href, y] of [
    [$('#scene'), data.background, 0],
    [piece, data.piece, data.piece_y],
  ]) {
    attr(el, 'href', href);
    attr(el, 'y', y);
  }
  attr($('#scene'), 'width', width);
  attr($('#scene'), 'height', height);
  piece.removeAttribute('width');
  piece.removeAttribute('height');
  const size = new Image();
  size.onload = () => {
    range.max = width - size.naturalWidth;
    attr(piece, 'width', size.naturalWidth);
    attr(piece, 'height', size.naturalHeight);
    slideTo(0);
  };
  size.src = data.piece;
  range.max = width;
  slideTo(0);
}

/* ----- the puzzle ----- */

function slideTo(x) {
  range.value = Math.round(x);
  attr(piece, 'x', range.value);
  attr(range, 'aria-valuetext', text('check.at', { x: range.value, of: range.max }));
}
range.oninput = () => slideTo(Number(range.value));
$('#nudge-left').onclick = () => slideTo(Number(range.value) - NUDGE_PX);
$('#nudge-right').onclick = () => slideTo(Number(range.value) + NUDGE_PX);
{
  const svg = $('#puzzle');
  let from = null;
  svg.onpointerdown = e => {
    from = e.clientX - (Number(range.value) * svg.clientWidth) / svg.viewBox.baseVal.width;
    svg.setPointerCapture(e.pointerId);
    e.preventDefault();
  };
  svg.onpointermove = e => {
    if (from !== null) slideTo(((e.clientX - from) * svg.viewBox.baseVal.width) / svg.clientWidth);
  };
  svg.onpointerup = svg.onpointercancel = () => {
    from = null;
  };
}

/* ----- the work ----- */

function stopWork() {
  worker?.terminate();
  worker = null;
  $('#work').value = 0;
  tell($('#work-text'), '');
}
async function startWork() {
  if (!free($('#work-start')) || !(await fresh())) return;
  const mine = turn;
  let spoken = 0;
  const show = share => {
    const p = Math.min(99, Math.round(100 * share)),
      words = text('check.working', { p });
    $('#work').value = p;
    tell($('#work-text'), 'check.working', { p });
    if (share - spoken >= SPOKEN_SHARE) {
      spoken = share;
      announce(words);
    }
  };
  busy(true);
  show(0);
  worker = new Worker('/assets/proof-of-work.js');
  worker.onerror = () => {
    if (mine === turn) {
      stopWork();
      busy(false);
      say('check.broke');
    }
  };
  worker.onmessage = ({ data }) => {
    if (mine !== turn) return;
    if (data.share !== undefined) return show(data.share);
    if (data.failed) return worker.onerror();
    $('#work').value = 100;
    tell($('#work-text'), 'check.done');
    send({ altcha: data.payload });
  };
  worker.postMessage({ challenge: challenge.altcha, most: challenge.tries_max });
}

/* ----- the answer ----- */

async function send(answer) {
  const mine = ++turn,
    solved = { challenge: challenge.challenge, answer };
  challenge = null;
  clearTimeout(over);
  busy(true);
  say('');
  const came = await work.attempt(solved);
  if (mine !== turn || !dialog.open) return;
  busy(false);
  if (way === 'work') {
    stopWork();
    say(came === 'lost' ? 'check.lost' : 'check.again');
    return;
  }
  await fresh(came === 'lost' ? 'check.lost' : 'check.wrong', true);
}
$('#check-form').onsubmit = e => {
  e.preventDefault();
  if (way === 'work') return startWork();
  if (!free($('#check-send'))) return;
  if (!challenge) return say('check.over');
  if (work.kind === 'image' && !typed.value.trim()) {
    say('check.empty');
    return typed.focus();
  }
  send(work.kind === 'image' ? { text: typed.value.trim() } : { x: Number(range.value) });
};
$('#check-new').onclick = e => {
  if (free(e.currentTarget)) fresh('', true);
};
$('#check-close').onclick = closeCheck;
