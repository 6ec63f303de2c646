/* The form that creates, copies or changes a sale. If the API refuses, the form keeps its values
   and shows each fault at its field. */
import {
  api,
  decimal,
  faultAt,
  Field,
  html,
  minorUnits,
  Problem,
  seg,
  t,
  useState,
} from '/assets/console-kit.js';

const CHOICES = {
  pass: ['off', 'required'],
  challenge: ['off', 'image', 'slider', 'pow'],
  access_codes: ['off', 'required'],
  waiting_room: ['off', 'auto', 'always'],
};
/* Scopes of the front door's rate limits: one buyer, one address, and all requests together. */
const SCOPES = ['buyer', 'ip', 'interface'];
const RATES = ['burst', 'per_minute'];
const CHOOSE = ['buyer', 'random', 'round_robin'];

/** Returns a time of the API as the value of a `datetime-local` control, in the visitor's zone. */
const localTime = text => {
  if (!text) return '';
  const at = new Date(text);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
};
const apiTime = text => (text ? new Date(text).toISOString() : null);

const newItem = n => ({
  id: `item-${n}`,
  title: '',
  description: '',
  image: '',
  price: '',
  currency: 'CNY',
  list_price: '',
  stock: '100',
  limit_per_buyer: '1',
  hold_secs: '900',
});

/** Returns the text of every field. */
function texts(sale, isNew) {
  if (!sale) {
    const items = [newItem(1)];
    return { id: '', title: '', starts_at: '', ends_at: '', door: {}, limits: {}, items };
  }
  const { pass, challenge, access_codes, waiting_room, members_only, min_level } = sale.front_door;
  return {
    id: isNew ? '' : sale.id,
    title: sale.title,
    starts_at: isNew ? '' : localTime(sale.starts_at),
    ends_at: isNew ? '' : localTime(sale.ends_at),
    door: { pass, challenge, access_codes, waiting_room, members_only, min_level },
    limits: Object.fromEntries(
      SCOPES.flatMap(scope =>
        RATES.map(rate => [`${scope}.${rate}`, String(sale.front_door.limits[scope]?.[rate] ?? '')]),
      ),
    ),
    items: sale.items.map(item => ({
      id: item.id,
      title: item.title,
      description: item.description,
      image: item.image ?? '',
      price: decimal(item.price.amount_minor, item.price.currency),
      currency: item.price.currency,
      list_price: item.list_price
        ? decimal(item.list_price.amount_minor, item.list_price.currency)
        : '',
      stock: String(item.stock),
      limit_per_buyer: String(item.limit_per_buyer),
      hold_secs: String(item.hold_secs),
    })),
  };
}

/** Returns the body of the request, or the faults that the API would describe in other words. */
function body(form, isNew) {
  const faults = [];
  const price = (text, currency, pointer) => {
    const amount_minor = minorUnits(text, currency);
    if (amount_minor === null) faults.push({ pointer, detail: t('bad_price', { currency }) });
    return { amount_minor, currency };
  };
  const whole = (text, pointer) => {
    if (!/^\d{1,15}$/.test(text.trim())) faults.push({ pointer, detail: t('bad_number') });
    return Number(text);
  };
  const items = form.items.map((item, at) => {
    const currency = item.currency.trim().toUpperCase();
    const made = {
      id: item.id.trim(),
      title: item.title,
      description: item.description,
      image: item.image.trim() || null,
      price: price(item.price, currency, `/items/${at}/price`),
      list_price: item.list_price
        ? price(item.list_price, currency, `/items/${at}/list_price`)
        : null,
      limit_per_buyer: whole(item.limit_per_buyer, `/items/${at}/limit_per_buyer`),
      hold_secs: whole(item.hold_secs, `/items/${at}/hold_secs`),
    };
    if (isNew) {
      made.stock =
        item.stock === 'unlimited' ? 'unlimited' : whole(item.stock, `/items/${at}/stock`);
    }
    return made;
  });
  const front_door = { ...form.door };
  if (front_door.min_level !== undefined) front_door.min_level = Number(front_door.min_level);
  front_door.limits = limits(form.limits, whole);
  const sale = {
    title: form.title,
    starts_at: apiTime(form.starts_at),
    ends_at: apiTime(form.ends_at),
    front_door,
    items,
  };
  return { sale: isNew ? { id: form.id.trim(), ...sale } : sale, faults };
}

/** Returns the rate limits of the form. A scope without numbers keeps its limit or the default. */
function limits(form, whole) {
  const made = {};
  for (const scope of SCOPES) {
    const texts = RATES.map(rate => form[`${scope}.${rate}`] ?? '');
    if (texts.every(text => text === '')) continue;
    const numbers = texts.map((text, n) =>
      whole(text, `/front_door/limits/${scope}/${RATES[n]}`),
    );
    made[scope] = { burst: numbers[0], per_minute: numbers[1] };
  }
  return made;
}

/** The form that sets how the stock of one item is divided among its slots. */
function SpreadForm({ sale, item }) {
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
    ${['partitions', 'initial', 'threshold', 'refill'].map(
      name => html`<${Field} label=${t('spread.' + name)} hint=${t(`spread.${name}.hint`)}
        fault=${faultAt(state.error, '/' + name)}>
        ${props => html`<input ...${props} type=${name === 'partitions' ? 'text' : 'number'}
          min="0" value=${state.spread[name]} onInput=${change(name)} />`}
      <//>`,
    )}
    <${Field} label=${t('spread.choose')} hint=${t('spread.choose.hint')}>
      ${props => html`<select ...${props} onChange=${change('choose')}>
        ${CHOOSE.map(way => html`<option value=${way} selected=${way === state.spread.choose}>
          ${t('spread.' + way)}</option>`)}
      </select>`}
    <//>
    <p><button class="button" type="button" onClick=${save}>${t('save_spread')}</button>
      ${state.done && html` <span role="status">${t('saved')}</span>`}</p>
    <${Problem} error=${state.error} />
  </fieldset>`;
}

export function SaleForm({ sale, isNew }) {
  const [form, setForm] = useState(() => texts(sale, isNew));
  const [state, setState] = useState({ busy: false, error: null, done: false });
  const { error } = state;
  const set = (name, value) => setForm({ ...form, [name]: value });
  const setItem = (at, name, value) =>
    set('items', form.items.map((item, n) => (n === at ? { ...item, [name]: value } : item)));
  const input = (name, label, hint, more = {}) => html`<${Field} label=${label} hint=${hint}
    fault=${faultAt(error, '/' + name)}>
    ${props => html`<input ...${props} ...${more} value=${form[name]}
      onInput=${event => set(name, event.target.value)} />`}
  <//>`;
  const itemInput = (at, name, label, hint, more = {}) => html`<${Field} label=${label}
    hint=${hint} fault=${faultAt(error, `/items/${at}/${name}`) ??
    faultAt(error, `/items/${at}/${name}/amount_minor`) ??
    (name === 'currency' ? faultAt(error, `/items/${at}/price/currency`) : undefined)}>
    ${props => html`<input ...${props} ...${more} value=${form.items[at][name]}
      onInput=${event => setItem(at, name, event.target.value)} />`}
  <//>`;

  const send = async event => {
    event.preventDefault();
    const made = body(form, isNew);
    if (made.faults.length) {
      setState({ busy: false, done: false, error: { faults: made.faults, message: t('see_fields') } });
      return;
    }
    setState({ busy: true, error: null, done: false });
    try {
      const saved = isNew
        ? await api.send('POST', '/v1/admin/sales', made.sale)
        : await api.send('PATCH', `/v1/admin/sales/${seg(sale.id)}`, made.sale);
      setState({ busy: false, error: null, done: true });
      if (isNew) location.hash = `#/sales/${saved.id}`;
    } catch (error) {
      setState({ busy: false, error, done: false });
    }
  };

  return html`<div class="lead"><h1>${isNew ? t('new_sale') : `${t('edit')}: ${sale.title}`}</h1>
      ${!isNew && html`<div class="lead__do">
        <a class="button" href=${`#/sales/${sale.id}`}>${t('live')}</a></div>`}
    </div>
    <form class="sale-form" onSubmit=${send} novalidate>
      <section class="card fields"><h2>${t('sale')}</h2>
        ${isNew && input('id', t('id'), t('id_hint'), { required: true, spellcheck: false })}
        ${input('title', t('title'), null, { required: true })}
        ${input('starts_at', t('starts_at'), t('starts_hint'), {
          type: 'datetime-local',
          step: 1,
        })}
        ${input('ends_at', t('ends_at'), t('ends_hint'), { type: 'datetime-local', step: 1 })}
      </section>
      ${form.items.map((item, at) => html`<section class="card fields" key=${at}>
        <h2>${t('item_n', { n: at + 1 })}</h2>
        ${isNew && itemInput(at, 'id', t('id'), t('id_hint'), { spellcheck: false })}
        ${itemInput(at, 'title', t('title'))}
        ${itemInput(at, 'description', t('description'))}
        ${itemInput(at, 'image', t('image'), t('image_hint'), { inputmode: 'url' })}
        ${/^(https:\/\/|\/)\S+$/.test(item.image) &&
        html`<p><img class="preview" src=${item.image} alt=${t('preview_of', { n: at + 1 })} /></p>`}
        ${itemInput(at, 'price', t('price'), t('price_hint'), { inputmode: 'decimal' })}
        ${itemInput(at, 'currency', t('currency'), t('currency_hint'), { maxlength: 3 })}
        ${itemInput(at, 'list_price', t('list_price'), t('list_price_hint'), {
          inputmode: 'decimal',
        })}
        ${isNew && itemInput(at, 'stock', t('stock'), t('stock_hint'), { inputmode: 'numeric' })}
        ${itemInput(at, 'limit_per_buyer', t('limit'), t('limit_hint'), { inputmode: 'numeric' })}
        ${itemInput(at, 'hold_secs', t('hold'), t('hold_hint'), { inputmode: 'numeric' })}
        ${!isNew && html`<${SpreadForm} sale=${sale.id} item=${item.id} />`}
        ${isNew && form.items.length > 1 && html`<p><button class="button" type="button"
          onClick=${() => set('items', form.items.filter((_, n) => n !== at))}>
          ${t('remove_item')}</button></p>`}
      </section>`)}
      ${isNew && html`<p><button class="button" type="button" onClick=${() =>
        set('items', [...form.items, newItem(form.items.length + 1)])}>
        ${t('add_item')}</button></p>`}
      <section class="card fields"><h2>${t('front_door')}</h2>
        ${Object.entries(CHOICES).map(([name, choices]) => html`<${Field} label=${t('door.' + name)}
          hint=${t(`door.${name}.${form.door[name] ?? 'off'}.hint`)}
          fault=${faultAt(error, '/front_door/' + name)}>
          ${props => html`<select ...${props} onChange=${event =>
            set('door', { ...form.door, [name]: event.target.value })}>
            ${choices.map(choice => html`<option value=${choice}
              selected=${choice === (form.door[name] ?? 'off')}>${t('choice.' + choice)}</option>`)}
          </select>`}
        <//>`)}
        ${SCOPES.flatMap(scope => RATES.map(rate => html`<${Field}
          label=${t(`limit.${scope}.${rate}`)} hint=${t(`limit.${rate}.hint`)}
          fault=${faultAt(error, `/front_door/limits/${scope}/${rate}`)}>
          ${props => html`<input ...${props} inputmode="numeric"
            value=${form.limits[`${scope}.${rate}`] ?? ''} onInput=${event =>
              set('limits', { ...form.limits, [`${scope}.${rate}`]: event.target.value })} />`}
        <//>`))}
        <${Field} label=${t('door.members_only')} hint=${t('door.members_only.hint')}>
          ${props => html`<select ...${props} onChange=${event =>
            set('door', { ...form.door, members_only: event.target.value === 'yes' })}>
            <option value="no" selected=${!form.door.members_only}>${t('no')}</option>
            <option value="yes" selected=${!!form.door.members_only}>${t('yes')}</option>
          </select>`}
        <//>
      </section>
      <${Problem} error=${error} />
      <p class="sale-form__do"><button class="button button--main"
        aria-disabled=${String(state.busy)}>${isNew ? t('create') : t('save')}</button>
        ${state.done && html` <span role="status">${t('saved')}</span>`}</p>
    </form>`;
}
