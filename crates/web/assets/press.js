/* One press of the button, from the request to its final answer. Its Idempotency-Key survives
   reloads and lost connections. So the page may send the press several times, and at most one order
   results. */
import { placeOrder, getOrder, random } from '/assets/api.js';
import { jitter, now } from '/assets/clock.js';
import { tab } from '/assets/store.js';

const slot = sale => 'press.' + sale;
const LOST_MIN_MS = 1_000,
  LOST_MAX_MS = 10_000;
/** The server may refuse a press as too early. This close to the start, the page hides such a
   refusal, and repeats the press with the same key until the sale is open. */
const OPENING_MS = 5_000;

/** The press is stored before the page sends anything. */
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
/** Returns the buyer's press that had no final answer when the buyer left the page, or null. */
export function unfinishedPress(sale, buyer) {
  const press = tab.get(slot(sale));
  return press?.key && press.buyer === buyer ? press : null;
}

const NO_PASS = ['pass_required', 'pass_invalid', 'pass_expired'];

/** Follows the press to its final answer:
   - `{ order }` after a success
   - `{ code, problem }` after a refusal
   - `{ busy_secs, scope }` after too many requests
   - `{ signin: true }` if the token is not valid
   `pass(which)` returns an answer with a pass, or null if none is needed. `which` is:
   - `new` if the server did not accept the last pass
   - `known` if an earlier attempt may have arrived. The server finds this attempt by its key, so
     the page uses only a stored pass
   - `any` otherwise
   `tell(stage, { wait_ms })` reports `asking`, `queued`, `retrying` or `offline`. An event ends
   `rest(ms)` early. `hinted()` says whether an event stream is open. */
export async function pursue(press, { token, pass, tell, rest, hinted }) {
  const keep = () => tab.set(slot(press.sale), press);
  const end = verdict => {
    tab.drop(slot(press.sale));
    return verdict;
  };
  /* Without the required pass, the page sends no purchase, so there is no order. */
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
      /* The request may have arrived. Because of the key, it is safe to repeat. */
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
    /* The request may have arrived. Only `overloaded` says that the server did not process it. */
    if (status >= 500 && !answer.unsent && data.code !== 'overloaded') {
      press.unsure = true;
      keep();
    }
    if (status >= 500 || (status === 429 && (press.id || press.unsure))) {
      const wait_ms = (answer.retry_secs ?? 2) * 1000 + jitter(0, 500);
      tell('retrying', { wait_ms });
      await new Promise(done =>
        setTimeout(done, wait_ms),
      ); /* the server asked for this pause, so no event ends it early */
      continue;
    }
    if (status === 404 && press.id && !strayed) {
      /* The server should always know the id. If not, it still finds the order by the key. */
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
