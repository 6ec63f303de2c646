/* The state of the order page, and the steps of the order's history. Does not touch the page. */
import { now } from '/assets/clock.js';

/** After the buyer's return from the payment page, the order page expects the provider's
   confirmation for this long. */
export const CHECK_MS = 60_000;

/** The page warns the buyer when this time is left: a quarter of the time to pay, but at most two
   minutes. */
export const endingMs = ({ reserved_at, pay_by }) =>
  Math.min(120_000, (Date.parse(pay_by) - Date.parse(reserved_at)) / 4 || 0);

/** Whether the buyer has just returned from the payment page. The address proves nothing, so this
   only chooses the text. */
export const isBack = m => m.back_ms !== null && performance.now() - m.back_ms < CHECK_MS;

/** Returns the state, the last cause and the sum of the refunds, or null if there are no refunds.
   The sum counts only refunds in the first refund's currency. The state is `failed` if any refund
   failed, or else `pending` if any is pending. */
export function moneyBack(m) {
  const refunds = m.told?.refunds ?? [];
  if (!refunds.length) return null;
  const state =
    ['failed', 'pending'].find(state => refunds.some(r => r.state === state)) ?? 'settled';
  const { currency } = refunds[0].amount,
    alike = refunds.filter(r => r.amount.currency === currency);
  return {
    state,
    cause: refunds.at(-1).cause,
    amount: { currency, amount_minor: alike.reduce((sum, r) => sum + r.amount.amount_minor, 0) },
  };
}

const endings = ['order.cancelled', 'order.expired'];
const paidLate = m =>
  (m.told?.history ?? []).some(
    (entry, i, all) => entry.event === 'order.paid' && endings.includes(all[i - 1]?.event),
  );

/** Returns the name of the page's state. The keys of the state's texts contain this name. */
export function stateOf(m) {
  if (!m.order) return m.trouble ?? 'loading';
  const { state, pay_by } = m.order;
  if (state === 'paid') return paidLate(m) ? 'paidlate' : state;
  if (state === 'refused' && m.order.code === 'left') return 'left';
  if (state === 'expired' || state === 'cancelled')
    return m.told?.refunds?.some(refund => refund.cause === 'late') ? 'late' : state;
  if (state !== 'reserved') return state;
  const rest = Date.parse(pay_by) - now();
  if (rest <= 0) return 'over';
  if (isBack(m)) return 'checking';
  return rest < endingMs(m.order) ? 'ending' : state;
}

/* One function for each kind of event in the history. It gets the previous event and this event,
   and returns the key of the step's text and the step's class. */
const names = {
  'order.reserved': () => ['h.reserved'],
  'order.paid': before => [endings.includes(before?.event) ? 'h.paidlate' : 'h.paid', 'good'],
  'order.cancelled': (_, entry) => [entry.by === 'operator' ? 'h.cancelled.shop' : 'h.cancelled'],
  'order.expired': () => ['h.expired', 'bad'],
  'order.refunded': () => ['h.refunding'],
  'order.extended': () => ['h.extended'],
  'payment.refunded': (_, entry) => [
    { paid: 'h.second', reserved: 'h.mismatch' }[entry.state] ?? 'h.late',
  ],
};
/* If the page has no history, it makes these steps from the order itself. */
const plain = {
  queued: () => [['h.queued', null, 'now']],
  waiting: o => [['h.joined', o.joined_at, 'now']],
  refused: o =>
    o.code === 'left'
      ? [
          ['h.joined', o.joined_at],
          ['h.left', null],
        ]
      : [
          ['h.queued', null],
          ['h.refused', null, 'bad'],
        ],
  reserved: o => [['h.reserved', o.reserved_at]],
  paid: o => [
    ['h.reserved', o.reserved_at],
    ['h.paid', o.paid_at, 'good'],
  ],
  cancelled: o => [
    ['h.reserved', o.reserved_at],
    ['h.cancelled', o.ended_at],
  ],
  expired: o => [
    ['h.reserved', o.reserved_at],
    ['h.expired', o.ended_at, 'bad'],
  ],
  refunded: o => [
    ['h.reserved', o.reserved_at],
    ['h.paid', o.paid_at],
    ['h.refunding', o.ended_at],
  ],
};

/** Returns the steps as [words, time, class]. Future steps come last. */
export function stepsOf(m) {
  const { order } = m,
    told = m.told?.history ?? [];
  const steps = told.length
    ? told
        .filter(entry => names[entry.event])
        .map((entry, i, all) => {
          const [key, kind] = names[entry.event](all[i - 1], entry);
          return [key, entry.at, kind];
        })
    : (plain[order.state]?.(order) ?? []);
  for (const refund of m.told?.refunds ?? []) {
    if (refund.state === 'settled') steps.push(['h.settled', refund.settled_at, 'good']);
    else
      steps.push([
        refund.state === 'failed' ? 'h.stuck' : 'h.pending',
        null,
        refund.state === 'failed' ? 'bad' : 'next',
      ]);
  }
  if (order.state === 'queued') steps.push(['h.answerby', order.decide_by, 'next']);
  if (order.state === 'reserved') {
    if (stateOf(m) === 'checking') steps.push(['h.waiting', null, 'now']);
    else if (steps.length) steps.at(-1)[2] ??= 'now';
    steps.push(['h.payby', order.pay_by, 'next']);
  }
  return steps;
}
