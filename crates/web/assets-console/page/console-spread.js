/* The fields that set how the stock of an item is divided among its slots. */
import { api, faultAt, Field, html, Input, Problem, seg, t,
  useState } from '/assets/console-kit.js';

const CHOOSE = ['buyer', 'random', 'round_robin'];
const pathOf = (sale, item) => `/v1/admin/sales/${seg(sale)}/items/${seg(item)}/spread`;

/** A number, or a word such as `auto`. */
const valueOf = text => (text === '' || Number.isNaN(Number(text)) ? text : Number(text));

/** Saves the spreads of `items` in the sale `to`. `spread` has the fields that the operator typed.
   `copied` is the id of the original item in the sale `from`. Returns the first error. */
export async function saveSpreads(from, to, items) {
  let first = null;
  for (const { id, copied, spread } of items) {
    const typed = Object.entries(spread).filter(([, text]) => text !== '')
      .map(([name, text]) => [name, valueOf(text)]);
    if (!copied && !typed.length) continue;
    try {
      const made = await api.get(pathOf(to, id));
      const base = copied ? await api.get(pathOf(from, copied)) : made;
      const wanted = { ...base, ...Object.fromEntries(typed) };
      if (JSON.stringify(wanted) !== JSON.stringify(made)) {
        await api.send('PUT', pathOf(to, id), wanted);
      }
    } catch (error) {
      first ??= error.faults?.[0]?.detail ? new Error(`${id}: ${error.faults[0].detail}`) : error;
    }
  }
  return first;
}

/** `mayBeEmpty` is the key of the sentence that says what an empty field means. */
function SpreadFields({ spread, error, change, mayBeEmpty }) {
  const choose = spread.choose ?? '';
  return html`<p class="soft">${t('spread.about')}</p>
    ${mayBeEmpty && html`<p class="soft">${t(mayBeEmpty)}</p>`}
    ${['partitions', 'initial', 'threshold', 'refill'].map(
      name => html`<${Input} label=${t('spread.' + name)} hint=${t(`spread.${name}.hint`)}
        fault=${faultAt(error, '/' + name)} type=${name === 'partitions' ? 'text' : 'number'}
        min="0" value=${spread[name] ?? ''}
        onInput=${event => change(name, event.target.value)} />`,
    )}
    <${Field} label=${t('spread.choose')} hint=${choose && t(`spread.${choose}.hint`)}>
      ${props => html`<select ...${props} onChange=${event => change('choose', event.target.value)}>
        ${mayBeEmpty && html`<option value="" selected=${!choose}>${t('limit.default')}</option>`}
        ${CHOOSE.map(way => html`<option value=${way} selected=${way === choose}>
          ${t('spread.' + way)}</option>`)}
      </select>`}
    <//>`;
}

/** The form saves this spread after it has created the sale. */
export function NewSpread({ item, set }) {
  const [open, setOpen] = useState(false);
  if (!open) {
    return html`<p><button class="button" type="button" onClick=${() => setOpen(true)}>
      ${t('spread')}</button></p>`;
  }
  return html`<fieldset class="fields">
    <legend>${t('spread')}</legend>
    <${SpreadFields} spread=${item.spread}
      mayBeEmpty=${item.copied ? 'spread.copied' : 'spread.new'}
      change=${(name, text) => set('spread', { ...item.spread, [name]: text })} />
  </fieldset>`;
}

export function SpreadForm({ sale, item, can }) {
  const [state, set] = useState({ spread: null, error: null, done: false });
  const path = pathOf(sale, item);
  const open = async () => {
    try {
      set({ spread: await api.get(path), error: null, done: false });
    } catch (error) {
      set({ spread: null, error, done: false });
    }
  };
  if (!state.spread) {
    return html`<p>
      <button class="button" type="button" onClick=${open}>${t('spread')}</button>
      <${Problem} error=${state.error} />
    </p>`;
  }
  const change = (name, text) =>
    set({ ...state, done: false, spread: { ...state.spread, [name]: valueOf(text) } });
  const save = async () => {
    try {
      set({ spread: await api.send('PUT', path, state.spread), error: null, done: true });
    } catch (error) {
      set({ ...state, error, done: false });
    }
  };
  return html`<fieldset class="fields">
    <legend>${t('spread')}</legend>
    <${SpreadFields} spread=${state.spread} error=${state.error} change=${change} />
    <p>${can('operator') && html`<button class="button" type="button" onClick=${save}>
        ${t('save_spread')}</button>`}
      ${state.done && html` <span role="status">${t('saved')}</span>`}</p>
    <${Problem} error=${state.error} />
  </fieldset>`;
}
