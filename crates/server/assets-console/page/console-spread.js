/* The form that sets how the stock of an item is divided among its slots. */
import { api, faultAt, Field, html, Problem, seg, t, useState } from '/assets/console-kit.js';

const CHOOSE = ['buyer', 'random', 'round_robin'];

/** Gives the items of a new sale the spreads of the items that they were copied from. `items` has
   pairs: the item of the old sale, and the item of the new sale. Returns the error if the server
   refuses. */
export async function copySpreads(from, to, items) {
  const path = (sale, item) => `/v1/admin/sales/${seg(sale)}/items/${seg(item)}/spread`;
  try {
    for (const [copied, item] of items.filter(([copied]) => copied)) {
      const [old, made] = [await api.get(path(from, copied)), await api.get(path(to, item))];
      if (JSON.stringify(old) !== JSON.stringify(made)) await api.send('PUT', path(to, item), old);
    }
    return null;
  } catch (error) {
    return error;
  }
}

/** The form that sets how the stock of one item is divided among its slots. */
export function SpreadForm({ sale, item, can }) {
  const [state, set] = useState({ spread: null, error: null, done: false });
  const path = `/v1/admin/sales/${seg(sale)}/items/${seg(item)}/spread`;
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
  const change = name => event =>
    set({
      ...state,
      done: false,
      spread: {
        ...state.spread,
        [name]: Number.isNaN(Number(event.target.value)) || name === 'choose'
          ? event.target.value : Number(event.target.value),
      },
    });
  const save = async () => {
    try {
      set({ spread: await api.send('PUT', path, state.spread), error: null, done: true });
    } catch (error) {
      set({ ...state, error, done: false });
    }
  };
  return html`<fieldset class="fields">
    <legend>${t('spread')}</legend>
    <p class="soft">${t('spread.about')}</p>
    ${['partitions', 'initial', 'threshold', 'refill'].map(
      name => html`<${Field} label=${t('spread.' + name)} hint=${t(`spread.${name}.hint`)}
        fault=${faultAt(state.error, '/' + name)}>
        ${props => html`<input ...${props} type=${name === 'partitions' ? 'text' : 'number'}
          min="0" value=${state.spread[name]} onInput=${change(name)} />`}
      <//>`,
    )}
    <${Field} label=${t('spread.choose')} hint=${t(`spread.${state.spread.choose}.hint`)}>
      ${props => html`<select ...${props} onChange=${change('choose')}>
        ${CHOOSE.map(way => html`<option value=${way} selected=${way === state.spread.choose}>
          ${t('spread.' + way)}</option>`)}
      </select>`}
    <//>
    <p>${can('operator') && html`<button class="button" type="button" onClick=${save}>
        ${t('save_spread')}</button>`}
      ${state.done && html` <span role="status">${t('saved')}</span>`}</p>
    <${Problem} error=${state.error} />
  </fieldset>`;
}
