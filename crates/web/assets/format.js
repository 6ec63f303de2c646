/* Formats numbers, money and times in the page's language and the visitor's time zone. */
import { perLanguage, site, text, zh } from '/assets/texts.js';
import { now } from '/assets/clock.js';

const two = n => String(n).padStart(2, '0');
/* Keeps every formatter, because creating one is slow and the page draws four times a second. */
const kept = new Map();
function keep(key, make) {
  const name = (zh() ? 'zh ' : 'en ') + key;
  if (!kept.has(name)) kept.set(name, make());
  return kept.get(name);
}
function clock(ms, seconds) {
  const at = new Date(ms);
  return (
    two(at.getHours()) + ':' + two(at.getMinutes()) + (seconds ? ':' + two(at.getSeconds()) : '')
  );
}
const date = (ms, year) =>
  keep('date ' + year, () =>
    new Intl.DateTimeFormat(zh() ? 'zh-CN' : 'en-GB', {
      day: 'numeric',
      month: zh() ? 'long' : 'short',
      year: year ? 'numeric' : undefined,
    })).format(ms);
const day = ms => date(ms, true);
/** Returns the name of a zone, such as GMT+8. Without `timeZone`, this is the visitor's zone. */
export const zone = (ms, timeZone = undefined) =>
  keep('zone ' + timeZone, () =>
    new Intl.DateTimeFormat('en-GB', { timeZone, timeZoneName: 'shortOffset' }))
    .formatToParts(ms)
    .find(part => part.type === 'timeZoneName')?.value ?? '';
export const isToday = ms => new Date(ms).toDateString() === new Date(now()).toDateString();

export const time = ms => clock(ms, true);
const yearOf = ms => new Date(ms).getFullYear();
/** Returns `20:00` for today, and `27 Nov, 20:00` for another day. Adds the year if it is not this
   year. */
export const shortTime = ms =>
  isToday(ms)
    ? clock(ms, false)
    : date(ms, yearOf(ms) !== yearOf(now())) + (zh() ? ' ' : ', ') + clock(ms, false);
/** `27 Nov 2026, 20:00 GMT+1` */
export const fullTime = ms => day(ms) + (zh() ? ' ' : ', ') + clock(ms, false) + ' ' + zone(ms);
/* Formatters throw an error for a zone that the browser does not know. */
const isZone = timeZone =>
  keep('is zone ' + timeZone, () => {
    try {
      return !!new Intl.DateTimeFormat('en-GB', { timeZone });
    } catch {
      return false;
    }
  });
/** Formats a time in the shop's zone, or returns null if the zone is missing, unknown, or the same
   as the visitor's. */
export function shopTime(ms, timeZone) {
  if (!timeZone || !isZone(timeZone) || zone(ms, timeZone) === zone(ms)) return null;
  const form = keep('shop ' + timeZone, () =>
    new Intl.DateTimeFormat(zh() ? 'zh-CN' : 'en-GB', {
      timeZone,
      day: 'numeric',
      month: zh() ? 'long' : 'short',
      year: 'numeric',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    }));
  return form.format(ms) + ' ' + zone(ms, timeZone);
}
/** Formats a date and time in the visitor's zone, and in the shop's zone if that differs. */
export function wholeTime(ms) {
  const shop = shopTime(ms, site.time_zone);
  return fullTime(ms) + (shop ? ` (${text('clock.shop', { t: shop })})` : '');
}
/** Formats a time with its zone, and with the date if it is not today. */
export const moment = (ms, seconds = true) =>
  (isToday(ms) ? '' : day(ms) + (zh() ? ' ' : ', ')) + clock(ms, seconds) + ' ' + zone(ms);
/** Formats a time for a sentence: `at 20:00 GMT+1`, or `on 27 Nov 2026, 20:00 GMT+1`. */
export const when = ms => text(isToday(ms) ? 'at' : 'on', { t: moment(ms, false) });
/** Like `when`, but short, because the full time is nearby: `at 20:00`, or `on 27 Nov, 20:00`. */
export const shortWhen = ms => text(isToday(ms) ? 'at' : 'on', { t: shortTime(ms) });

/** `04:59`, `02:04:59`, `3 d 02:04:59` */
export function left(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000)),
    d = Math.floor(s / 86400),
    h = Math.floor(s / 3600) % 24;
  return (
    (d ? text('days', { d }) + ' ' : '') +
    (d || h ? two(h) + ':' : '') +
    two(Math.floor(s / 60) % 60) +
    ':' +
    two(s % 60)
  );
}
/** Formats a length of time, such as `90 seconds`, `15 minutes`, `24 hours` or `3 days`. */
export function span(secs) {
  if (secs % 60) return text('say.sec', { n: secs });
  const [unit, n] =
    secs % 3600 || secs < 7200
      ? ['min', secs / 60]
      : secs % 86400 || secs < 172800
        ? ['hour', secs / 3600]
        : ['day', secs / 86400];
  return text('say.' + unit, { n });
}

const figures = perLanguage(locale => new Intl.NumberFormat(locale));
export const count = n => figures().format(n);
/** The last eight letters and digits of an order's id. */
export const shortId = id =>
  id
    .replace(/\W|_/g, '')
    .slice(-8)
    .toUpperCase()
    .replace(/^.{4}/, '$&-');
/** The number of decimals of each currency in ISO 4217; currencies that are not listed have 2. The
   server uses the same numbers. The browser's own formats can have other numbers. */
const places = {
  BHD: 3, BIF: 0, CLF: 4, CLP: 0, DJF: 0, GNF: 0, IQD: 3, ISK: 0, JOD: 3, JPY: 0, KMF: 0, KRW: 0,
  KWD: 3, LYD: 3, OMR: 3, PYG: 0, RWF: 0, TND: 3, UGX: 0, UYI: 0, UYW: 4, VND: 0, VUV: 0, XAF: 0,
  XOF: 0, XPF: 0,
};
export function money({ amount_minor, currency }, units = 1) {
  const digits = places[currency] ?? 2;
  const form = keep(currency, () =>
    new Intl.NumberFormat(zh() ? 'zh-CN' : 'en', {
      style: 'currency',
      currency,
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    }));
  return form.format((amount_minor * units) / 10 ** digits);
}
/** Rounds the range of a wait, because the estimate is not exact. */
export function estimate({ from, to }) {
  if (to < 60) {
    const high = Math.max(10, Math.ceil(to / 10) * 10),
      low = Math.floor(from / 10) * 10;
    return text(low > 0 && low < high ? 'est.secs' : 'est.sec', { a: low, b: high });
  }
  const high = Math.ceil(to / 60),
    low = Math.max(from < 60 ? 0 : 1, Math.floor(from / 60));
  if (low < 1) return text('est.under', { b: high });
  return text(low < high ? 'est.mins' : 'est.min', {
    a: low,
    b: high,
  });
}
