/* One press of the button, from the request to its final answer. A press has one Idempotency-Key,
   which survives reloads and lost connections. So the request may be sent several times and creates
   at most one order. */
import { placeOrder, getOrder, random } from '/assets/api.js';
import { jitter, now } from '/assets/clock.js';
import { tab } from '/assets/store.js';

const slot = sale => 'press.' + sale;
const LOST_MIN_MS = 1_000,
  LOST_MAX_MS = 10_000;
/** A press this close to the start is never too early: it goes again, with its key, until the
   doors are open. */
const OPENING_MS = 5_000;

/** A new press, written down before anything is sent. */
export function newPress({ buyer, sale, item, units }) {
  const press = {
    key: random(),
    buyer,
    sale,
    item,
    units,
    id: null,
    decide_by: null,
    unsure: false,
  };
  tab.set(slot(sale), press);
  return press;
}
/** The press of this buyer that had no final answer when the page was left, or null. */
export function unfinishedPress(sale, buyer) {
  const press = tab.get(slot(sale));
  return press?.key && press.buyer === buyer ? press : null;
}

const NO_PASS = ['pass_required', 'pass_invalid', 'pass_expired'];

/** Sends the press and follows it to its end.
    `pass(which)` returns the answer to a pass request (201 with the pass, or a refusal), or null if
    no pass is required. `which` is `any`; or `new` if the last pass was not accepted; or `known` if
    the press may have been sent before, so that its key alone may be enough.
    `tell(stage, { wait_ms })` reports `asking`, `queued`, `retrying` or `offline`.
    `rest(ms)` waits; an event ends the wait early. `hinted()` tells whether an event stream is open.
    Returns `{ order }`, `{ code, problem }` (refused), `{ busy_secs, scope }` or `{ signin: true }`. */
export async function pursue(press, { token, pass, tell, rest, hinted }) {
  const keep = () => tab.set(slot(press.sale), press);
  const end = verdict => {
    tab.drop(slot(press.sale));
    return verdict;
  };
  /* Without a pass nothing is ordered, so what is said about it leaves nothing in doubt. */
  const ask = async anew => {
    const let_in = await pass(anew ? 'new' : press.unsure ? 'known' : 'any');
    if (let_in && let_in.status !== 201) return { ...let_in, unsent: true };
    return placeOrder(token, press, let_in?.data.pass);
  };
  let lost_ms = LOST_MIN_MS,
    strayed = false,
    anew = false;
  for (;;) {
    if (!press.id) tell('asking');
    const answer = await (press.id ? getOrder(token, press.id) : ask(anew));
    const { status, data } = answer,
      again = anew;
    anew = false;

    if (status === 0) {
      /* whether it arrived is not known; the key makes asking again harmless */
      if (!answer.unsent) {
        press.unsure = true;
        keep();
      }
      tell('offline');
      await rest(jitter(lost_ms / 2, lost_ms));
      lost_ms = Math.min(lost_ms * 2, LOST_MAX_MS);
      continue;
    }
    lost_ms = LOST_MIN_MS;
    if (status === 202 || (status === 200 && data.state === 'queued')) {
      Object.assign(press, { id: data.id, decide_by: data.decide_by ?? press.decide_by });
      keep();
      tell('queued');
      await rest(
        hinted()
          ? jitter(3_000, 5_000)
          : Math.min(answer.retry_secs ?? 1, 5) * 1000 + jitter(0, 1_000),
      );
      continue;
    }
    if (status === 200 || status === 201) {
      return end(
        data.state === 'refused'
          ? { code: data.code ?? 'refused', problem: data }
          : { order: data },
      );
    }
    if (status >= 500 || (status === 429 && (press.id || press.unsure))) {
      const wait_ms = (answer.retry_secs ?? 2) * 1000 + jitter(0, 500);
      tell('retrying', { wait_ms });
      await new Promise(done =>
        setTimeout(done, wait_ms),
      ); /* as long as the server asked; no hint cuts it short */
      continue;
    }
    if (status === 404 && press.id && !strayed) {
      /* should not happen; the key still finds the order */
      strayed = true;
      press.id = null;
      keep();
      continue;
    }
    if (status === 403 && !answer.unsent && !again && NO_PASS.includes(data.code)) {
      anew = true;
      continue;
    }
    if (
      status === 409 &&
      data.code === 'not_started' &&
      Math.abs(Date.parse(data.opens_at) - now()) < OPENING_MS
    ) {
      await new Promise(done =>
        setTimeout(done, Math.max(0, Date.parse(data.opens_at) - now()) + jitter(100, 600)),
      );
      continue;
    }
    if (status === 429) return end({ busy_secs: answer.retry_secs ?? 10, scope: data.scope });
    if (status === 401) return press.id || press.unsure ? { signin: true } : end({ signin: true });
    return end({ code: data.code ?? 'refused', problem: data });
  }
}
