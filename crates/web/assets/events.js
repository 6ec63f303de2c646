/* The buyer's event stream. Events are only hints that something changed. Without events, the pages
   poll instead. */
import { COOKIE, origin } from '/assets/api.js';
import { jitter } from '/assets/clock.js';

const AGAIN_MIN_MS = 1_000,
  AGAIN_MAX_MS = 60_000;

/** Keeps the stream open, and calls `on.order(order)`, `on.status(status)` and `on.room(place)` for
   events. Calls `on.gap(is_open)` when the stream opens or breaks, because events may be lost. A
   new stream begins with the status. */
export function listen({ token, sale, on }) {
  let socket = null,
    open = false,
    closed = false,
    timer = 0,
    again = AGAIN_MIN_MS;

  function connect() {
    const url =
      (origin || location.origin).replace(/^http/, 'ws') +
      '/v1/ws' +
      (sale ? '?sale=' + encodeURIComponent(sale) : '');
    try {
      socket = new WebSocket(
        url,
        token === COOKIE ? ['doorbuster.v1'] : ['doorbuster.v1', 'bearer.' + token],
      );
    } catch {
      return;
    }
    const mine = socket;
    socket.onmessage = message => {
      const isFirst = !open;
      open = true;
      again = AGAIN_MIN_MS;
      let event = {};
      try {
        event = JSON.parse(message.data);
      } catch {
      }
      if (isFirst || event.type === 'hello') on.gap?.(true);
      if (event.type === 'order') on.order?.(event.order);
      if (event.type === 'status') on.status?.(event.status);
      if (event.type === 'waiting_room') on.room?.(event);
    };
    socket.onclose = () => {
      if (mine !== socket) return;
      const was = open;
      open = false;
      if (closed) return;
      if (was) on.gap?.(false);
      timer = setTimeout(connect, jitter(again / 2, again));
      again = Math.min(again * 2, AGAIN_MAX_MS);
    };
  }
  function cut() {
    const old = socket;
    socket = null;
    open = false;
    clearTimeout(timer);
    old?.close();
  }
  connect();
  /* For the back button, the browser may keep a page after the buyer has left it. Such a page must
     not keep its stream. */
  addEventListener('pagehide', cut);
  addEventListener('pageshow', event => {
    if (event.persisted && !closed && !socket) connect();
  });
  return {
    isOpen: () => open,
    close() {
      closed = true;
      cut();
    },
  };
}
