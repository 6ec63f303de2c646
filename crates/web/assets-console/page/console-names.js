/* Finds the names of operators by their ids. An operator is a key, or a person who signed in. */
import { api, html, query, useEffect, useState, word } from '/assets/console-kit.js';

/* `keys` has the names of existing keys. `found` has every name that a view looked up. */
let keys = null;
const found = new Map();

/** The name of a deleted key comes from the list of actions. */
async function nameOf(id) {
  keys ??= api.get('/v1/admin/keys').then(
    list => new Map(list.keys.map(key => [key.id, key.name])),
    () => new Map(),
  );
  const name = (await keys).get(id);
  if (name) return name;
  const filter = id.startsWith('oidc:')
    ? { action: 'session.created', subject: 'person:' + id }
    : { action: 'key.created', subject: 'key:' + id };
  const { actions } = await api.get('/v1/admin/actions' + query({ ...filter, limit: 1 }));
  return actions[0]?.changes.find(change => change.path === '/name')?.to ?? '';
}

/** Shows the operator who made a change. If no operator made the change, shows a word for the
   server or for a command on the server. */
export function Who({ id }) {
  const [name, set] = useState('');
  useEffect(() => {
    set('');
    if (!/^(key_|oidc:)/.test(id)) return;
    let ended = false;
    if (!found.has(id)) found.set(id, nameOf(id));
    found.get(id).then(
      name => ended || set(name),
      // Removes a failed request, so that the next view sends a new request.
      () => found.delete(id),
    );
    return () => (ended = true);
  }, [id]);
  return html`<span class="wrap">${name
    ? html`<b>${name}</b> <span class="code soft">${id}</span>` : word('by', id)}</span>`;
}
