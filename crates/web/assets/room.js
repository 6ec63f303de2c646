/* A waiting room: the buyer's position and its changes. A draw shuffles the visitors who arrive
   before the start, and later visitors queue behind them. The position belongs to the buyer, so
   another device finds it too. Without events, the page polls slowly. */
import { enterRoom, getPlace, leaveRoom } from '/assets/api.js';
import { jitter, now, pauser } from '/assets/clock.js';
import { buyerOf } from '/assets/who.js';
import { tab } from '/assets/store.js';

/* A page takes its position for the draw at a random moment, between ten and five minutes before
   the start. A page that is opened later takes its position within a few seconds. */
const EARLY_MS = 600_000;
const LAST_MS = 1_000; /* a turn that ends within this time counts as over */
const SETTLE_MS = 3_000; /* the result of the draw is read within this time after the start */

/* The ranges of the random wait between two reads of the position. */
const POLL_STREAMING_MS = [20_000, 30_000]; /* while the event stream is open */
const POLL_GONE_MS = [8_000, 15_000]; /* when the turn has gone */
const POLL_WAITING_MS = [3_000, 6_000];
const POLL_BEFORE_MAX_MS = 3_600_000; /* before the start */

/** `item` is null for the room of the whole sale. `shown()` says whether the page shows this room.
   `changed(place)` is called after each change. `signedOut(token)` drops a refused token. */
export function waitingRoom(m, item, { shown, changed, signedOut, streaming }) {
  const slot = 'room.' + m.id + (item ? '.' + item : ''),
    pause = pauser();
  let place = null,
    lapsed = false,
    stuck = false,
    entering = 0 /* the timer of the next request that `plan` sends */,
    aim = null /* the start for which `entering` is set */,
    watching = false,
    hasLeft = false /* after leaving, another node may still report the old position */,
    heard = 0;

  /** Writes the position into the model, if the page shows this room. */
  function show() {
    if (shown()) Object.assign(m, { room: place, lapsed, roomStuck: stuck });
  }
  function take(answer) {
    if (!['before', 'waiting', 'admitted', 'gone'].includes(answer?.state)) return;
    const first = Math.max(tab.get(slot + '.first') ?? 0, answer.position ?? 0);
    if (first) tab.set(slot + '.first', first);
    place = {
      state: answer.state,
      position: answer.position ?? null,
      first,
      estimate: answer.estimate_secs ?? null,
      until_ms: Date.parse(answer.admitted_until) || null,
    };
    lapsed = stuck = false;
    tab.set(slot, buyerOf(m.token));
    show();
    changed(place);
    if (!watching) watch();
  }
  /** Drops the position. If the buyer had a turn, the turn has ended unused. */
  function drop() {
    lapsed = place?.state === 'admitted';
    place = null;
    tab.drop(slot);
    tab.drop(slot + '.first');
    show();
    changed(place);
  }
  async function leave() {
    clearTimeout(entering);
    entering = 0;
    const answer = await leaveRoom(m.token, m.id, item);
    stuck = answer.status !== 204 && answer.status !== 404;
    if (stuck) {
      show();
      return changed(place);
    }
    hasLeft = true;
    heard += 1;
    drop();
  }

  /** Takes a position, or finds the existing one. If an event arrives before the answer, the page
     cannot know which position is newer, so it reads the position again. */
  async function enter() {
    clearTimeout(entering);
    entering = 0;
    hasLeft = false;
    const before = heard;
    let answer = await enterRoom(m.token, m.id, item);
    const ends_in = Date.parse(answer.data.admitted_until) - now();
    if (ends_in < LAST_MS) {
      /* During a turn, the server gives no new position. So the page waits for the end of this
         turn. */
      await new Promise(done => setTimeout(done, Math.max(0, ends_in) + jitter(200, 600)));
      answer = await enterRoom(m.token, m.id, item);
    }
    if (answer.status === 200 || answer.status === 201)
      if (heard === before) take(answer.data);
      else await look();
    return answer;
  }
  /** Takes a position without a press for buyers who wait for the start, and reads the position of
     buyers who come back. */
  function plan(opens) {
    if (aim !== opens) {
      clearTimeout(entering);
      entering = 0;
      aim = opens;
    }
    if (place || entering || hasLeft || !m.token) return;
    /* The link in a message about a turn contains the item and the word `turn`. */
    const called = m.wanted.has('turn') && m.wanted.get('item') === item,
      back = called || tab.get(slot) === buyerOf(m.token),
      wait = opens ? opens - now() : Infinity;
    if (!back && (wait < 0 || wait === Infinity)) return;
    const most = back ? 1_000 : Math.min(4_000, wait / 2),
      delay =
        wait > EARLY_MS && !back ? jitter(wait - EARLY_MS, wait - EARLY_MS / 2) : jitter(0, most);
    if (delay > 3_600_000) return; /* the page plans this again after a later status */
    entering = setTimeout(async () => {
      const { token } = m,
        answer = back ? await look() : await enter();
      if (answer.status === 401) signedOut(token);
      if (called && (answer.status === 200 || answer.status === 404)) m.wanted.delete('turn');
      if (answer.status === 0 || answer.status === 429 || answer.status >= 500)
        entering = setTimeout(
          () => {
            entering = 0;
            plan(aim);
          },
          (answer.retry_secs ?? 2) * 1000 + jitter(0, 3_000),
        );
    }, delay);
  }
  async function look() {
    entering = 0;
    for (;;) {
      const { token } = m,
        before = heard,
        answer = await getPlace(token, m.id, item);
      if (heard !== before)
        continue; /* an event came during the read; another read gets the newest position */
      if (hasLeft) return answer;
      if (answer.status === 200) take(answer.data);
      else if (answer.status === 404) drop();
      else if (answer.status === 401) signedOut(token);
      return answer;
    }
  }
  function pollPause_ms(opens) {
    const { state, until_ms } = place;
    if (state === 'before')
      return opens && opens > now()
        ? Math.min(opens - now() + jitter(300, SETTLE_MS), POLL_BEFORE_MAX_MS)
        : jitter(1_000, SETTLE_MS);
    if (state === 'admitted')
      return until_ms ? Math.max(500, until_ms - now() + jitter(200, 1_500)) : Infinity;
    if (streaming()) return jitter(...POLL_STREAMING_MS);
    return jitter(...(state === 'gone' ? POLL_GONE_MS : POLL_WAITING_MS));
  }
  async function watch() {
    watching = true;
    while (place) {
      await pause.rest(pollPause_ms(Date.parse(m.status?.starts_at) || null));
      if (document.hidden && place?.state === 'gone')
        await new Promise(seen =>
          document.addEventListener('visibilitychange', seen, { once: true }),
        );
      if (!place) break;
      const answer = await look();
      if (answer.retry_secs) await new Promise(done => setTimeout(done, answer.retry_secs * 1000));
    }
    watching = false;
  }
  return {
    enter,
    leave,
    plan,
    hear(news) {
      heard += 1;
      if (!hasLeft) take(news);
    },
    show,
    /** Forgets the position, because another buyer uses the page. */
    reset() {
      place = null;
      lapsed = stuck = false;
    },
    wake: pause.wake,
  };
}
