/* Formats numbers, money and times in the page's language and the visitor's time zone. */
import { zh, text } from '/assets/words.js';
import { now } from '/assets/clock.js';

const locale = zh ? 'zh-CN' : 'en';
const two = n => String(n).padStart(2, '0');
const clock = (ms, seconds) =>
  new Intl.DateTimeFormat('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    second: seconds ? '2-digit' : undefined,
    hourCycle: 'h23',
  }).format(ms);
const day = ms =>
  new Intl.DateTimeFormat(zh ? 'zh-CN' : 'en-GB', {
    day: 'numeric',
    month: zh ? 'long' : 'short',
  }).format(ms);
const isToday = ms => new Date(ms).toDateString() === new Date(now()).toDateString();

export const time = ms => clock(ms, true);
/** 27 Nov, 20:00 */
export const dayTime = ms => day(ms) + (zh ? ' ' : ', ') + clock(ms, false);
/** The time alone today, with the date on other days. */
export const moment = (ms, seconds = true) =>
  isToday(ms) ? clock(ms, seconds) : day(ms) + (zh ? ' ' : ', ') + clock(ms, seconds);
/** The same inside a sentence: at 20:00, on 27 Nov, 20:00. */
export const when = ms => text(isToday(ms) ? 'at' : 'on', { t: moment(ms, false) });

/** The rest of a countdown: 04:59, 02:04:59, 3 d 02:04:59. */
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
/** A length of time in words: 15 minutes, 90 seconds. */
export const span = secs =>
  secs % 60
    ? text('say.sec', { n: secs })
    : text(secs === 60 ? 'say.min1' : 'say.min', { n: secs / 60 });

export const count = n => new Intl.NumberFormat(locale).format(n);
/** Decimal places by ISO 4217, as the server uses them; 2 except for these. Browsers know how
    prices are usually written, which can differ. */
const places = {
  BHD: 3,
  BIF: 0,
  CLF: 4,
  CLP: 0,
  DJF: 0,
  GNF: 0,
  IQD: 3,
  ISK: 0,
  JOD: 3,
  JPY: 0,
  KMF: 0,
  KRW: 0,
  KWD: 3,
  LYD: 3,
  OMR: 3,
  PYG: 0,
  RWF: 0,
  TND: 3,
  UGX: 0,
  UYI: 0,
  UYW: 4,
  VND: 0,
  VUV: 0,
  XAF: 0,
  XOF: 0,
  XPF: 0,
};
/** `{amount_minor, currency}` times `units`, with as many decimals as the currency has. */
export function money({ amount_minor, currency }, units = 1) {
  const digits = places[currency] ?? 2;
  const form = new Intl.NumberFormat(locale, {
    style: 'currency',
    currency,
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return form.format((amount_minor * units) / 10 ** digits);
}
