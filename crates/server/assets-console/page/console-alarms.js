/* Alarms of the live view: what needs a person now, and what to do. */
import { count, html, t, word } from '/assets/console-kit.js';

/** Returns the problems that need a person now, each with the next step and the view for it. */
export function alarmsOf({ ready, audit, nodes, ends, refunds, tickets }) {
  const reasons = ready.error?.status === 503 ? ready.error.reasons ?? [ready.error.message] : [];
  const warnings = ready.data?.warnings ?? ready.error?.warnings ?? [];
  const alarms = [...reasons, ...warnings].map(reason => {
    const known = word('alarm', reason);
    return known === reason
      ? { text: t('alarm.other', { reason }), todo: t('alarm.other.todo'), to: '#/nodes' }
      : { text: known, to: '#/nodes' };
  });
  for (const finding of audit.data?.findings ?? []) {
    const text = `${finding.rule}: ${finding.detail}${t('stop')}`;
    alarms.push({ text, todo: t('alarm.finding.todo'), to: '#/audit' });
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
