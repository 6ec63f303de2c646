/* Alarms of the live view: what needs a person now, and what to do. */
import { clock, count, html, serverNow, t, useEffect, useState, word } from
  '/assets/console-kit.js';

/* A lag of more than this many milliseconds is bad. A node reports twice a second, and its lease
   ends three seconds after its last report. An edge reports about every two seconds. */
const [NODE_LAG_BAD_MS, EDGE_LAG_BAD_MS] = [1500, 6000];
const isEdge = node => node.roles?.includes('edge') ?? false;
/** Returns whether the node's last report is too old. */
export const lagIsBad = node =>
  node.lag_ms > (isEdge(node) ? EDGE_LAG_BAD_MS : NODE_LAG_BAD_MS);
/** If an event waits for longer than this many milliseconds, a person must look at it. */
const EVENT_OLD_MS = 60_000;
const GONE_MS = 600_000;
/** In an upgrade, a new node may start up to this many milliseconds before the old node stops. */
const OVERLAP_MS = 120_000;

/** `seen` maps each node or edge to the first and last time at which the console saw it. Adds
   `nodes` to `seen`, and returns the nodes that are gone and that no new node has replaced. A
   replacement starts after the node is gone, or shortly before. */
export function goneNodes(seen, nodes, now) {
  for (const node of nodes) {
    const first = seen.get(node.node)?.first ?? now;
    seen.set(node.node, { edge: isEdge(node), first, last: now });
  }
  for (const [node, { last }] of seen) if (last < now - GONE_MS) seen.delete(node);
  const starts = nodes.map(node => ({ edge: isEdge(node), at: Date.parse(node.started_at) }))
    .sort((a, b) => b.at - a.at);
  const missing = [...seen].filter(([, { last }]) => last < now)
    .sort(([, a], [, b]) => b.last - a.last);
  return missing.flatMap(([node, { edge, first, last }]) => {
    const since = Math.max(first, last - OVERLAP_MS);
    const at = starts.findIndex(start => start.edge === edge && start.at > since);
    if (at < 0) return [{ node, last }];
    starts.splice(at, 1);
    return [];
  });
}

const seen = new Map();
export function useGoneNodes(nodes) {
  const [gone, set] = useState([]);
  useEffect(() => {
    if (nodes) set(goneNodes(seen, nodes.nodes, serverNow()));
  }, [nodes]);
  return gone;
}

/** Returns the problems that need a person now, each with a text, the next step, and the view for
   this step. */
export function alarmsOf({ ready, audit, nodes, gone, ends, refunds, tickets }) {
  const reasons = ready.error?.status === 503 ? ready.error.reasons ?? [ready.error.message] : [];
  const warnings = ready.data?.warnings ?? ready.error?.warnings ?? [];
  const alarm = other => reason => {
    const known = word('alarm', reason);
    return known === reason
      ? { text: t(other, { reason }), todo: t('alarm.other.todo'), to: '#/nodes' }
      : { text: known, to: '#/nodes' };
  };
  const alarms = [...reasons.map(alarm('alarm.other')), ...warnings.map(alarm('alarm.warning'))];
  for (const finding of audit.data?.findings ?? []) {
    const place = [finding.sale, finding.item].filter(Boolean).join(' / ');
    const text = `${place && place + ': '}${finding.rule}: ${finding.detail}${t('stop')}`;
    alarms.push({ text, todo: t('alarm.finding.todo'), to: '#/audit' });
  }
  for (const [name, poll] of Object.entries({ audit, nodes, receivers: ends, letters: refunds })) {
    // If the server does not respond, the view only turns grey. An alarm is raised only if the
    // server responds with an error.
    if (poll.error?.status >= 500) {
      const text = t('alarm.unread', { what: t(name), error: poll.error.message });
      alarms.push({ text, todo: t('alarm.other.todo'), to: '#/' + name });
    }
  }
  for (const { node, last } of gone) {
    const text = t('alarm.gone', { node, at: clock(last) });
    alarms.push({ text, todo: t('alarm.gone.todo'), to: '#/nodes' });
  }
  for (const node of nodes.data?.nodes ?? []) {
    if (lagIsBad(node)) {
      const text = t('alarm.lag', { node: node.node, n: (node.lag_ms / 1000).toFixed(1) });
      alarms.push({ text, todo: t('alarm.lag.todo'), to: '#/nodes' });
    }
  }
  for (const slot of nodes.data?.slots ?? []) {
    if (!slot.up) {
      const text = t('alarm.slot_server', { server: slot.server });
      alarms.push({ text, todo: t('alarm.slot_server.todo'), to: '#/nodes' });
    }
  }
  if (nodes.data && !nodes.data.nodes.some(node => node.leader)) {
    alarms.push({ text: t('alarm.no_leader'), todo: t('alarm.no_leader.todo'), to: '#/nodes' });
  }
  for (const end of ends.data?.endpoints ?? []) {
    if (end.dead > 0) {
      const text = t('alarm.dead', { n: count(end.dead), address: end.url });
      alarms.push({ text, todo: t('alarm.dead.todo'), to: '#/letters' });
    }
    const to = '#/receivers';
    if (!end.enabled && end.waiting > 0) {
      const text = t('alarm.disabled', { n: count(end.waiting), address: end.url });
      alarms.push({ text, todo: t('alarm.disabled.todo'), to });
    } else if (serverNow() - Date.parse(end.oldest_waiting_at) > EVENT_OLD_MS) {
      const text = t('alarm.late', { at: clock(Date.parse(end.oldest_waiting_at)), address: end.url });
      alarms.push({ text, todo: t('alarm.late.todo'), to });
    }
  }
  for (const [name, letters] of Object.entries({ refunds, tickets })) {
    if (letters.data?.dead_letters.length) {
      const [text, todo] = [t('alarm.' + name), t(`alarm.${name}.todo`)];
      alarms.push({ text, todo, to: '#/letters' });
    }
  }
  return alarms;
}

export function Alarms({ alarms }) {
  if (!alarms.length) return html`<p class="alarm" role="status">${t('no_alarms')}</p>`;
  return html`<div class="alarm alarm--bad" role="alert"><b>${t('alarms')}</b>
    <ul>${alarms.map(({ text, todo, to }) => html`<li>${text} ${todo}${' '}
      <a href=${to}>${t('look')}</a></li>`)}</ul></div>`;
}
