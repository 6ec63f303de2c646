/* Gets the attention of a buyer who looks at another tab. The tab's title and icon count down and
   change. A sound and a system notification follow only if the buyer switched them on. */
import { left } from '/assets/format.js';
import { hasPush, renewPush, startPush, stopPush } from '/assets/push-subscribe.js';
import { $, attr, tell, text } from '/assets/texts.js';
import { browser } from '/assets/store.js';

/* The frequency of each note in hertz, and the length of a note. */
const NOTES = [660, 880, 660],
  NOTE_SECS = 0.18;
const ICON_PX = 64;
let audio = null,
  sounds = false,
  notifies = false,
  last = '',
  icon = '';

export function bindReminders(m) {
  $('#notify').hidden = !('Notification' in window);
  const showSound = () => attr($('#sound'), 'aria-pressed', sounds);
  $('#sound').onclick = () => {
    sounds = !sounds;
    browser.set('sound', sounds);
    showSound();
    if (sounds) play();
  };
  sounds = browser.get('sound') === true;
  showSound();
  /* A browser lets a page play sounds only after the visitor has used the page. */
  for (const use of ['pointerdown', 'keydown']) addEventListener(use, wakeSound);
  const showNotify = (pushes, stopped = false) => {
    attr($('#notify'), 'aria-pressed', notifies);
    const denied = Notification.permission === 'denied';
    const note = denied ? 'denied' : stopped ? 'stopped' : pushes ? 'push' : 'note';
    tell($('#remind-note'), 'remind.' + note);
  };
  let isPressed = false;
  $('#notify').onclick = async () => {
    isPressed = true;
    notifies = !notifies && (await Notification.requestPermission()) === 'granted';
    browser.set('notify', notifies);
    /* The server ends the messages on all devices of the buyer. */
    const stops = !notifies && hasPush();
    if (!notifies) stopPush(m.token);
    showNotify(notifies && (await startPush(m.token)), stops);
  };
  if (!('Notification' in window)) return;
  notifies = browser.get('notify') === true && Notification.permission === 'granted';
  renewPush(m.token).then(pushes => {
    if (isPressed) return void (notifies || stopPush(m.token));
    notifies ||= pushes;
    if (notifies) showNotify(pushes);
  });
}

/** Alerts the buyer if there is `news`. `id` is the sale, and `scene` is the page's state. `tab`
   has the text before the page's `title`, a countdown's remaining time, and whether the icon is
   filled. */
export function remind({ id, title: own, scene, tab, news }) {
  const head = tab.head ? text(tab.head, { left: left(tab.rest_ms) }) : '';
  const title = head ? `${head} – ${own}` : own;
  if (document.title !== title) document.title = title;
  const rest = tab.rest_ms;
  drawIcon(
    rest ? String(rest < 60_000 ? Math.ceil(rest / 1000) : Math.ceil(rest / 60_000)) : '',
    tab.lit,
  );
  const now = news ?? scene,
    isNews = news && last && last !== now && !(news === 'open' && last !== 'before');
  last = now;
  if (isNews) call(text('remind.' + news), id, own);
}

/* Draws the remaining minutes into the tab's icon or, in the last minute, the remaining seconds.
   The icon is filled while the buyer can act. */
function drawIcon(number, lit) {
  const wanted = number + lit;
  /* The icon does not change before the page is shown. */
  if (wanted === icon || !document.documentElement.classList.contains('ready')) return;
  icon = wanted;
  const link = $('link[rel=icon]');
  if (!number && !lit) return attr(link, 'href', link.dataset.plain ?? link.href);
  link.dataset.plain ??= link.href;
  const canvas = document.createElement('canvas'),
    draw = canvas.getContext('2d');
  canvas.width = canvas.height = ICON_PX;
  const color = name => getComputedStyle(document.documentElement).getPropertyValue(name);
  draw.fillStyle = color('--color-accent');
  draw.beginPath();
  draw.roundRect(0, 0, ICON_PX, ICON_PX, 14);
  draw.fill();
  draw.fillStyle = color('--color-on-accent');
  draw.textAlign = 'center';
  draw.textBaseline = 'middle';
  draw.font = '700 42px system-ui, sans-serif';
  draw.fillText(number || '!', ICON_PX / 2, ICON_PX / 2 + 3);
  link.type = 'image/png';
  link.href = canvas.toDataURL();
}
function call(words, id, title) {
  /* Until the visitor has used the page, the browser would delay a sound, so none is played. */
  if (sounds && audio?.state === 'running') play();
  if (notifies && document.hidden) {
    const options = { body: title, tag: 'doorbuster.' + id };
    try {
      const shown = new Notification(words, options);
      shown.onclick = () => {
        window.focus();
        shown.close();
      };
    } catch {
      /* On Android, only a service worker can show a notification. */
      const shown = known => known?.showNotification(words, options);
      navigator.serviceWorker?.getRegistration().then(shown);
    }
  }
}
function wakeSound() {
  if (sounds) (audio ??= new AudioContext()).resume();
}
function play() {
  wakeSound();
  NOTES.forEach((note, i) => {
    const from = audio.currentTime + i * NOTE_SECS,
      tone = audio.createOscillator(),
      volume = audio.createGain();
    tone.frequency.value = note;
    volume.gain.setValueAtTime(0.2, from);
    volume.gain.exponentialRampToValueAtTime(0.001, from + NOTE_SECS);
    tone.connect(volume).connect(audio.destination);
    tone.start(from);
    tone.stop(from + NOTE_SECS);
  });
}
