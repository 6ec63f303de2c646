/* Entries for the buyer's calendar (RFC 5545). */
import { now } from '/assets/clock.js';

/* In bytes (RFC 5545). */
const LINE_BYTES = 75;
/* The reminder comes this long before the entry's time. If less than twice this time is left, the
   reminder comes when half of the remaining time has passed. */
const EARLY_SECS = 300;

const stamp = ms => new Date(ms).toISOString().replace(/[-:]|\.\d{3}/g, '');
const plain = words => words.replace(/([\\,;])/g, '\\$1').replace(/\s+/g, ' ').trim();
const encoder = new TextEncoder();
/* Splits a line into pieces of at most 75 bytes. Each piece after the first begins with a space. */
function folded(line) {
  let out = '',
    bytes = 0;
  for (const char of line) {
    const more = encoder.encode(char).length;
    if (bytes + more > LINE_BYTES) {
      out += '\r\n ';
      bytes = 1;
    }
    bytes += more;
    out += char;
  }
  return out + '\r\n';
}

/** Returns the address of a calendar file with one entry. If the entry's time is in the future, the
   entry has a reminder. An entry with a higher `version` replaces the entry with the same `id`. */
export function calendarFile({ id, version = 0, at, title, words = '', url }) {
  const secs = Math.floor(Math.min(EARLY_SECS, (at - now()) / 2000));
  const alarm = [
    'BEGIN:VALARM',
    'ACTION:DISPLAY',
    `TRIGGER:-PT${secs}S`,
    `DESCRIPTION:${plain(title)}`,
    'END:VALARM',
  ];
  const lines = [
    'BEGIN:VCALENDAR',
    'VERSION:2.0',
    'PRODID:-//Doorbuster//EN',
    'BEGIN:VEVENT',
    `UID:${id}@${location.host}`,
    `DTSTAMP:${stamp(now())}`,
    `SEQUENCE:${version}`,
    `DTSTART:${stamp(at)}`,
    `SUMMARY:${plain(title)}`,
    ...(words ? [`DESCRIPTION:${plain(words)}`] : []),
    `URL:${url}`,
    ...(secs > 0 ? alarm : []),
    'END:VEVENT',
    'END:VCALENDAR',
  ];
  return URL.createObjectURL(new Blob(lines.map(folded), { type: 'text/calendar' }));
}
