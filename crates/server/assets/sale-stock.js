/* Shows the stock line and the bar of a sale's page. */
import { $, text, put, attr } from '/assets/words.js';
import { time } from '/assets/format.js';
import { OLD_MS, row } from '/assets/sale-state.js';

/* Shows how far this buyer has moved up in the queue, in place of the stock. */
function showProgress(m, deal, stock) {
  const { position, first } = m.room ?? {};
  if (deal !== 'waiting' || !position || !first) return false;
  put($('#stock'), text('stock.queue', { first, position }));
  put($('#stock-more'), stock);
  $('#bar').classList.remove('is-off');
  attr($('#bar-sold'), 'width', 0);
  attr($('#bar-held'), 'x', 0);
  attr($('#bar-held'), 'width', Math.round((1000 * (first - position)) / first));
  return true;
}

/* Shows the stock. Without counts it shows only the text, and never guesses a count. */
export function showStock(m, scene, deal, t) {
  const r = row(m),
    counted = Number.isInteger(r.count) && Number.isInteger(r.remaining);
  const held = Number.isInteger(r.held) ? r.held : 0,
    taken = counted ? r.count - r.remaining : 0;
  const v = { total: r.count ?? 0, left: r.remaining ?? 0, held, seen: time(m.seen_ms) };
  const key = scene === 'due' ? 'before' : scene;
  let words,
    more = key + '+';
  if (deal === 'gone' && (!counted || r.remaining)) words = counted ? 'gone' : 'gonex';
  else if (key === 'out') {
    words = 'out';
    if (!held) more = 'out0+';
  } else if (key === 'sold') words = counted && r.count ? 'sold' : 'soldx';
  else if (!counted) {
    words = key === 'live' ? 'free' : key + 'x';
    more = key !== 'ended' && r.count === null ? 'free+' : 'none+';
  } else if (key === 'ended') {
    words = r.remaining ? 'ended' : 'ended0';
    more = held ? 'endedh+' : taken ? 'ended+' : 'none+';
  } else {
    words = key;
    if (key === 'live' && !held) more = 'live0+';
  }
  if (deal === 'gone') more = 'gone+';
  if (showProgress(m, deal, counted && r.remaining ? text('stock.live', v) : '')) return;
  if ((m.offline || t - m.seen_ms > OLD_MS) && ['live', 'out'].includes(key)) more = 'old+';
  put($('#stock'), text('stock.' + words, v));
  put($('#stock-more'), text('stock.' + more, v));
  $('#bar').classList.toggle('is-off', !counted);
  const part = n => (counted && r.count ? Math.round((1000 * n) / r.count) : 0);
  const sold = key === 'before' ? 0 : part(Math.max(0, taken - held));
  attr($('#bar-sold'), 'width', sold);
  attr($('#bar-held'), 'x', sold);
  attr($('#bar-held'), 'width', key === 'before' ? 0 : part(Math.min(held, taken)));
}
