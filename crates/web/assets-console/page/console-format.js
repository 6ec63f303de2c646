/* The texts of the console in the operator's language, and formats of numbers, times and money. */
const asked = new URLSearchParams(location.search).get('lang');
if (asked) localStorage.setItem('doorbuster.lang', asked);
const lang = asked ?? localStorage.getItem('doorbuster.lang') ?? navigator.language;
export const zh = /^zh/i.test(lang);
document.documentElement.lang = zh ? 'zh-Hans' : 'en';
const locale = zh ? 'zh-CN' : 'en-GB';

const texts = (await import(zh ? '/assets/console-texts-zh.js' : '/assets/console-texts-en.js'))
  .default;
const plural = new Intl.PluralRules(zh ? 'zh' : 'en');

/** Returns the sentence of a key. A value replaces `{name}`. The number `n` chooses between the two
   texts of `{n|one|other}`. */
export function t(key, values = {}) {
  const sentence = texts[key] ?? key;
  return sentence
    .replace(/\{(\w+)\|([^|}]*)\|([^}]*)\}/g, (_, name, one, other) =>
      plural.select(Number(values[name])) === 'one' ? one : other,
    )
    .replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}
/** Returns the text for a word of the API, or else the word itself. */
export const word = (group, value) => texts[`${group}.${value}`] ?? value;

/** Translates a `detail` of the API, or returns it unchanged. */
export function localized(detail) {
  for (const [pattern, sentence] of texts.apiDetails) {
    if (pattern.test(detail)) return detail.replace(pattern, sentence);
  }
  return detail;
}

export const count = n => new Intl.NumberFormat(locale).format(n);
/** Writes a number in few characters, for the axes and keys of charts. */
export const brief = n =>
  new Intl.NumberFormat(locale, {
    notation: 'compact',
    // Numbers below 1 keep two significant digits. Otherwise a latency of 0.005 ms would be shown
    // as 0.
    ...(Math.abs(n) < 1 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: 1 }),
  }).format(n);
/** If the reconciliation lists only some differences, the text names the command that lists all
   differences. */
export function differencesText(sums, sale) {
  const n = sums.differences.length;
  if (sums.ok || sums.complete) return t(sums.ok ? 'reconciled' : 'not_reconciled', { n });
  const command = 'doorbuster reconcile' + (sale ? ` --sale ${sale}` : '');
  return t('many_differences', { n: count(n), command });
}
export const percent = (part, whole) =>
  new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 }).format(
    whole ? part / whole : 0,
  );
/** Writes an instant, without the year if it is the current year. Returns a dash for a missing or
   invalid instant. */
export const moment = text => {
  const at = new Date(text);
  if (!text || Number.isNaN(at.getTime())) return '–';
  return new Intl.DateTimeFormat(locale, {
    year: at.getFullYear() === new Date().getFullYear() ? undefined : 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  }).format(at);
};
/** `55:27`, `4:05:00` or `2 d 03:00:00` */
export const duration = ms => {
  const secs = Math.max(0, Math.round(ms / 1000));
  const two = n => String(n).padStart(2, '0');
  const [days, hours, minutes] = [86_400, 3600, 60].map(unit => Math.floor(secs / unit));
  const rest = `${two(minutes % 60)}:${two(secs % 60)}`;
  if (days) return `${t('days', { n: days })} ${two(hours % 24)}:${rest}`;
  return hours ? `${hours}:${rest}` : rest;
};
export const clock = ms =>
  new Intl.DateTimeFormat(locale, {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  }).format(ms);
const OTHER_DIGITS = {
  BHD: 3, BIF: 0, CLF: 4, CLP: 0, DJF: 0, GNF: 0, IQD: 3, ISK: 0, JOD: 3, JPY: 0, KMF: 0, KRW: 0,
  KWD: 3, LYD: 3, OMR: 3, PYG: 0, RWF: 0, TND: 3, UGX: 0, UYI: 0, UYW: 4, VND: 0, VUV: 0, XAF: 0,
  XOF: 0, XPF: 0,
};
export const digits = currency => OTHER_DIGITS[currency] ?? 2;
/** Converts minor units, such as cents, to major units, such as euros. */
export const decimal = (minor, currency) => {
  const places = digits(currency);
  return (minor / 10 ** places).toFixed(places);
};
/** Returns minor units, or null if the text is not valid. A text with a comma before exactly three
   digits is not valid, because the comma may separate thousands. */
export function minorUnits(text, currency) {
  const places = digits(currency);
  const parts = /^(\d{1,12})(?:[.,](\d+))?$/.exec(text.trim());
  if (!parts || /,\d{3}$/.test(parts[0]) || (parts[2] ?? '').length > places) return null;
  return Number(parts[1] + (parts[2] ?? '').padEnd(places, '0'));
}
export const money = ({ amount_minor, currency }) => {
  const places = digits(currency);
  try {
    return new Intl.NumberFormat(locale, {
      style: 'currency',
      currency,
      minimumFractionDigits: places,
      maximumFractionDigits: places,
    }).format(amount_minor / 10 ** places);
  } catch {
    return `${decimal(amount_minor, currency)} ${currency}`;
  }
};
