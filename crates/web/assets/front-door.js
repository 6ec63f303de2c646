/* The page's side of the front door: passes, the check, access codes and the waiting room. Fetches
   what a purchase needs, and offers the buyer a next step after a refusal. A refusal can show a new
   requirement before the sale's status lists it. */
import { fetchPass, dropPass, passOf, recallPasses, EARLY_MS } from '/assets/pass.js';
import { closeCheck, isOpen as checking, openCheck } from '/assets/challenge.js';
import { closeCode, isOpen as coding, openCode } from '/assets/access-code.js';
import { waitingRoom } from '/assets/room.js';
import { jitter, now } from '/assets/clock.js';
import {
  barredOf, frontOf, isAdmitted, isIn, learn, needsCheck, roomItem, sceneOf, starts,
} from '/assets/sale-state.js';
import { tab } from '/assets/store.js';

/* The page fetches a pass in the last minute before the start, but not in the first FIRST_MS and
   the last LAST_MS of this minute. */
const FIRST_MS = 2_000,
  LAST_MS = 6_000;
const BUSY_SECS = 3; /* the pause after a failure without Retry-After */

/** `draw()` shows the model, and `choose(item)` shows another item. `reread()` requests the status.
   `signedOut()` drops the token that the server refused. */
export function frontDoor(m, { draw, choose, reread, signedOut, streaming }) {
  const rooms = new Map() /* item id, or null for the whole sale → waiting room */,
    code_slot = 'code.' + m.id;
  let fetching = 0,
    aim = null;

  /* ----- waiting rooms ----- */

  /** Returns the waiting room of `item` or, if `item` is null, of the whole sale. By default,
     returns the room that the page shows. */
  function roomOf(item = roomItem(m)) {
    if (!rooms.has(item)) {
      let has_turn = false;
      const shown = () => roomItem(m) === item,
        changed = place => {
          /* A turn is short, so the page switches to the turn's item, unless the buyer is busy with
             another item. */
          const begins = place?.state === 'admitted' && !has_turn,
            busy = m.press || m.order?.state === 'reserved' || checking() || coding();
          has_turn = place?.state === 'admitted';
          if (begins && !shown() && !busy && !isAdmitted(m)) choose(item);
          draw();
        };
      rooms.set(item, waitingRoom(m, item, { shown, changed, signedOut, streaming }));
    }
    return rooms.get(item);
  }

  /* ----- before the start ----- */

  /** Decides what to fetch before the start, and when. The page calls this after each change of the
     sale, the item or the buyer. */
  function plan() {
    if (!m.token || !m.item) return;
    const opens = starts(m),
      front = frontOf(m),
      shut = sceneOf(m) === 'before';
    if (front.waiting_room !== 'off') {
      /* Before the start, the page joins an `always` room without a press. It does not join:
         - an `auto` room, because only a refused pass shows that the room is open
         - an item's room, because the buyer may want another item */
      const joins = shut && front.waiting_room === 'always' && front.rooms !== 'items';
      roomOf().show();
      roomOf().plan(joins ? opens : null);
    }
    const ahead =
      shut &&
      opens &&
      front.pass === 'required' &&
      isIn(m) &&
      !needsCheck(m) &&
      (front.access_codes !== 'required' || m.code) &&
      !barredOf(m) &&
      !passOf(m);
    if (aim !== opens || !ahead) {
      clearTimeout(fetching);
      fetching = 0;
      aim = opens;
    }
    if (!ahead || fetching) return;
    const first = opens - EARLY_MS + FIRST_MS,
      at = first + m.spread * (opens - LAST_MS - first),
      t = now();
    const wait = at > t ? at - t : jitter(0, (opens - t) * 0.6);
    if (wait < 3_600_000)
      fetching = setTimeout(ahead_of_time, wait); /* a later status sets a longer wait */
  }
  async function ahead_of_time() {
    const again_in = secs => {
      fetching = setTimeout(ahead_of_time, secs * 1000 + jitter(0, 2_000));
    };
    if (sceneOf(m) !== 'before' || passOf(m)) {
      fetching = 0;
      return;
    }
    const answer = await fetchPass(m, m.item.id),
      { status, data } = answer;
    fetching = 0;
    if (status === 0 || status === 429 || status >= 500) again_in(answer.retry_secs ?? 2);
    else if (data.code === 'not_started') again_in(2);
    else if (status === 401) signedOut();
    else if (status !== 201) about(data.code, data, false);
    draw();
  }

  /* ----- passes for a press ----- */

  /** Returns an answer with the stored pass or a new pass. An answer with a status other than 201
     says why there is no pass. Null means that the press is sent without a pass. */
  async function passFor(item, which) {
    if (which === 'new') dropPass(m, item);
    const pass = which === 'known' ? m.passes[item] : passOf(m, item);
    if (pass) return { status: 201, data: pass };
    return which === 'known' || (which === 'any' && frontOf(m).pass !== 'required')
      ? null
      : fetchPass(m, item);
  }
  /** If the buyer state (see sale-state.js) is `check`, `code` or `join`, handles the press and
     returns true. Otherwise returns false. */
  function press(buyerState) {
    if (buyerState === 'check') check();
    else if (buyerState === 'code') askForCode();
    else if (buyerState === 'join') join();
    else return false;
    return true;
  }

  function check() {
    const item = m.item.id;
    openCheck({
      sale: m.id,
      token: m.token,
      kind: frontOf(m).challenge,
      refused,
      async attempt(solved) {
        const answer = await fetchPass(m, item, solved),
          { status, data } = answer;
        if (status === 201) {
          closeCheck();
          draw();
          return 'done';
        }
        if (['challenge_failed', 'challenge_required'].includes(data.code)) return 'again';
        if (status === 0 || status >= 500) return 'lost';
        refused(answer);
        return 'left';
      },
    });
  }

  function keepCode(code) {
    m.code = code;
    if (code) tab.set(code_slot, code);
    else tab.drop(code_slot);
    draw();
  }
  function askForCode(wrong = false) {
    const item = m.item.id;
    openCode(async code => {
      keepCode(code);
      const opens = starts(m),
        soon = sceneOf(m) !== 'before' || (opens && opens - now() < EARLY_MS - FIRST_MS);
      if (!soon || needsCheck(m) || !isIn(m)) {
        plan();
        return 'done';
      } /* the code is sent later, with the request for a pass */
      const answer = await fetchPass(m, item),
        { status, data } = answer;
      draw();
      if (status === 201) return 'done';
      keepCode(null);
      if (data.requirement === 'access_code') return 'wrong';
      if (status === 0 || status >= 500) return 'lost';
      refused(answer);
      return 'left';
    }, wrong);
  }

  async function join() {
    m.joining = true;
    draw();
    const answer = await roomOf().enter();
    m.joining = false;
    if (answer.status !== 200 && answer.status !== 201) refused(answer);
    draw();
  }

  /* ----- handling a refusal ----- */

  function refused(answer) {
    const { status, data, retry_secs } = answer;
    closeCheck();
    closeCode();
    if (status === 401) signedOut();
    else if (status === 429 || status >= 500 || status === 0)
      busy(retry_secs ?? BUSY_SECS, data.scope);
    else if (!about(data.code, data, true)) {
      learn(m, data.code, data, { item: m.item.id });
      reread();
    }
    draw();
  }
  function busy(secs, scope) {
    m.busy_ms = now() + secs * 1000;
    m.scope = scope ?? null;
  }
  /** Returns false if no requirement of the front door caused the refusal. `asked` says that the
     refusal answers the buyer's own action. Only then may the page open a dialog for the next
     step. */
  function about(code, problem, asked) {
    const front = frontOf(m);
    if (code === 'waiting_room') {
      if (front.waiting_room === 'off') front.waiting_room = 'auto';
      dropPass(m, m.item.id); /* a room that is open accepts no pass from before it opened */
      join();
    } else if (code === 'challenge_required' || code === 'challenge_failed') {
      if (front.challenge === 'off')
        front.challenge = 'asked'; /* the kind of check is not known yet; the challenge names it */
      front.pass = 'required';
      dropPass(m, m.item.id);
      if (asked) check();
    } else if (code === 'not_eligible' && problem.requirement === 'access_code') {
      const wrong = !!m.code;
      front.access_codes = front.pass = 'required';
      dropPass(m, m.item.id);
      keepCode(null);
      if (asked) askForCode(wrong);
    } else if (code === 'not_eligible')
      m.barred = {
        name:
          problem.requirement === 'member'
            ? 'members'
            : problem.requirement === 'level'
              ? 'level'
              : 'blocked',
      };
    else if (code === 'forbidden') m.barred = { name: 'blocked' };
    else return false;
    return true;
  }

  return {
    plan,
    passFor,
    press,
    refused,
    busy,
    about,
    asking: () => checking() || coding(),
    hear: place => roomOf(place.item ?? null).hear(place),
    leave: () => roomOf().leave(),
    wake: () => rooms.forEach(room => room.wake()),
    /** Restores this buyer's state from before a reload. */
    recall() {
      rooms.forEach(room => room.reset());
      recallPasses(m);
      m.code = tab.get(code_slot);
    },
    /** Closes the front door's dialogs if the buyer cannot buy now. */
    settle(buyerState) {
      if (m.wish && buyerState === 'heldout') return; /* the dialog is for the waitlist */
      if (
        (checking() || coding()) &&
        ['soldout', 'heldout', 'ended', 'paused', 'limit'].includes(buyerState)
      ) {
        closeCheck();
        closeCode();
      }
    },
  };
}
