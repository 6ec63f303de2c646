/* The form that creates, copies or changes a sale. After a refusal, the form keeps its values and
   shows each fault at the faulty field. */
import { api, Ask, count, duration, Field, html, Input, moment, Phase, Problem, SaleTabs, say, seg,
  t, useEffect, useRef, useState } from '/assets/console-kit.js';
import { body, CHOICES, isEmpty, limitPointer, newItem, patchOf, RATES, rebased, SCOPES,
  texts } from '/assets/console-form-values.js';
import { NewSpread, saveSpreads, SpreadForm } from '/assets/console-spread.js';
import { plainText } from '/assets/console-texts.js';

/** The control's id for a JSON pointer of the API, such as `/items/0/price`. */
const controlId = pointer => 'f' + pointer.replaceAll('/', '-');
/** Returns the pointer of the field that shows a fault: `/title` for a fault at `/title/en`. */
const fieldOf = pointer =>
  pointer
    .replace(/\/price\/currency$/, '/currency')
    .replace(/\/amount_minor$/, '')
    .replace(/^(\/title|\/items\/\d+\/(title|description|gallery|facts))\/.*$/, '$1');

function Errors({ error }) {
  const box = useRef(null);
  useEffect(() => {
    if (error) box.current?.focus();
  }, [error]);
  if (!error) return null;
  if (!error.faults?.length) return html`<${Problem} error=${error} />`;
  const go = id => event => {
    event.preventDefault();
    document.getElementById(id)?.focus();
  };
  return html`<div class="errors" role="alert" tabindex="-1" ref=${box}>
    <b>${t('see_fields')}</b>
    <ul>${error.faults.map(({ pointer, detail }) => {
      const id = controlId(fieldOf(pointer ?? ''));
      const label = document.querySelector(`label[for="${id}"]`)?.textContent;
      const at = /^\/items\/(\d+)\//.exec(pointer ?? '')?.[1];
      const where = at === undefined ? label : `${t('item_n', { n: Number(at) + 1 })}, ${label}`;
      return html`<li>${label
        ? html`<a href=${'#' + id} onClick=${go(id)}>${where}: ${detail}</a>`
        : html`${pointer} ${detail}`}</li>`;
    })}</ul>
  </div>`;
}

/** Shows when the sale opens and closes, according to the current values of the form. */
function Plan({ form }) {
  const at = text => (text ? moment(text) : null);
  const [opens, closes] = [form.starts_at, form.ends_at].map(text => Date.parse(text));
  const holds = Math.max(0, ...form.items.map(item => Number(item.hold_secs) || 0));
  const units = form.items.map(item => item.stock);
  const all = units.reduce((sum, n) => sum + (Number(n) || 0), 0);
  const length = closes > opens ? t('plan.for', { length: duration(closes - opens) }) : '';
  const row = (kind, title, text) => html`<li class=${kind}><b>${title}</b><span>${text}</span></li>`;
  return html`<aside class="plan card" aria-labelledby="plan-title">
    <h2 id="plan-title">${t('plan')}</h2>
    <ol>
      ${row('', t('plan.draft'), t('plan.draft.text'))}
      ${row('plan__run', t('plan.open'), at(form.starts_at) ?? t('plan.by_hand'))}
      ${row('plan__run', units.includes('unlimited') ? t('plan.unlimited')
        : t('plan.units', { n: all, units: count(all) }),
      closes <= opens ? t('plan.wrong') : length || t('plan.no_end'))}
      ${row('plan__run', t('plan.close'), at(form.ends_at) ?? t('plan.by_hand'))}
      ${row('', t('plan.last'), closes ? moment(closes + holds * 1000)
        : t('plan.hold', { length: duration(holds * 1000) }))}
    </ol>
  </aside>`;
}

/** Offers three choices: the server's default, no limit, or two numbers. */
function Limit({ scope, limit, change, fault }) {
  const name = `limit.${scope}`;
  return html`<${Field} label=${t(name)} hint=${t(`limit.${limit.choice}.hint`)}>
      ${props => html`<select ...${props} onChange=${event =>
        change({ ...limit, choice: event.target.value })}>
        ${['default', 'none', 'own'].map(choice => html`<option value=${choice}
          selected=${choice === limit.choice}>${t('limit.' + choice)}</option>`)}
      </select>`}
    <//>
    ${limit.choice === 'own' && RATES.map(rate => html`<${Input} label=${t(`${name}.${rate}`)}
      hint=${t(`limit.${rate}.hint`)} id=${controlId(limitPointer(scope, rate))}
      fault=${fault(limitPointer(scope, rate))} inputmode="numeric" value=${limit[rate]}
      onInput=${event => change({ ...limit, [rate]: event.target.value })} />`)}`;
}

function FrontDoor({ form, set, fault }) {
  const { door } = form;
  const change = (name, value) => set('door', { ...door, [name]: value });
  const number = (name, start) => html`<${Input} label=${t('door.' + name)}
    hint=${t(`door.${name}.hint`)} id=${controlId('/front_door/' + name)}
    fault=${fault('/front_door/' + name)} inputmode="numeric" value=${door[name] ?? start}
    onInput=${event => change(name, event.target.value)} />`;
  return html`<section class="card fields"><h2>${t('front_door')}</h2>
    ${Object.entries(CHOICES).map(([name, choices]) => html`<${Field} label=${t('door.' + name)}
      hint=${t(`door.${name}.${door[name] ?? choices[0]}.hint`)}
      id=${controlId('/front_door/' + name)} fault=${fault('/front_door/' + name)}>
      ${props => html`<select ...${props} onChange=${event => change(name, event.target.value)}>
        ${choices.map(choice => html`<option value=${choice}
          selected=${choice === (door[name] ?? choices[0])}>${t('choice.' + choice)}</option>`)}
      </select>`}
    <//>`)}
    ${door.challenge === 'pow' && number('pow_effort', '5000')}
    <${Field} label=${t('door.members_only')} hint=${t('door.members_only.hint')}>
      ${props => html`<select ...${props} onChange=${event =>
        change('members_only', event.target.value === 'yes')}>
        <option value="no" selected=${!door.members_only}>${t('no')}</option>
        <option value="yes" selected=${!!door.members_only}>${t('yes')}</option>
      </select>`}
    <//>
    ${number('min_level', '0')}
    <h3>${t('rate_limits')}</h3>
    ${SCOPES.map(scope => html`<${Limit} scope=${scope} limit=${form.limits[scope]} fault=${fault}
      change=${limit => set('limits', { ...form.limits, [scope]: limit })} />`)}
  </section>`;
}

/** `control` draws a field. After the opening of the sale, some fields are locked. */
function ItemFields({ at, item, set, control, sale, isNew, form, change, can }) {
  const locked = sale && !isNew && !['draft', 'scheduled'].includes(sale.phase);
  const field = (name, label, hint, more = {}) =>
    control(`/items/${at}/${name}`, label, hint, item[name], value => set(name, value), more);
  const fixed = { readonly: locked };
  const holds = Number(item.hold_secs) || 0;
  return html`<section class="card fields">
    <h2>${t('item_n', { n: at + 1 })}${!isNew && ` · ${item.id}`}</h2>
    ${isNew && field('id', t('id'), t('id_hint'), { spellcheck: false })}
    ${field('title', t('title'), t('text_hint'), { rows: 1 })}
    ${field('price', t('price'), locked ? t('locked') : t('price_hint'), {
      ...fixed,
      inputmode: 'decimal',
    })}
    ${field('currency', t('currency'), locked ? t('locked') : t('currency_hint'), {
      ...fixed,
      maxlength: 3,
    })}
    ${field('list_price', t('list_price'), locked ? t('locked') : t('list_price_hint'), {
      ...fixed,
      inputmode: 'decimal',
    })}
    ${isNew && field('stock', t('stock'), t('stock_hint'), { inputmode: 'numeric' })}
    ${field('limit_per_buyer', t('limit'), locked ? t('locked') : t('limit_hint'), {
      ...fixed,
      inputmode: 'numeric',
    })}
    ${field('hold_secs', t('hold'), locked ? t('locked')
      : t('hold_hint', { length: duration(holds * 1000) }), { ...fixed, inputmode: 'numeric' })}
    <h3>${t('item_page')}</h3>
    ${field('image', t('image'), t('image_hint'), { inputmode: 'url' })}
    ${field('gallery', t('gallery'), t('gallery_hint'), { rows: 2 })}
    ${field('facts', t('facts'), t('facts_hint'), { rows: 2 })}
    ${/^(https:\/\/|\/)\S+$/.test(item.image) &&
    html`<p><img class="preview" src=${item.image} alt=${t('preview_of', { n: at + 1 })} /></p>`}
    <div class="wide">
      ${field('description', t('description'), t('text_hint'), { rows: 3 })}</div>
    ${isNew ? html`<${NewSpread} item=${item} set=${set} />`
      : html`<${SpreadForm} sale=${sale.id} item=${item.id} can=${can} />`}
    ${isNew && form.items.length > 1 && html`<p><button class="button" type="button"
      onClick=${() => change('items', form.items.filter((_, n) => n !== at))}>
      ${t('remove_item')}</button></p>`}
  </section>`;
}

/** With `max`, the browser accepts only years of four digits. */
const TIME = { type: 'datetime-local', step: 1, max: '9999-12-31T23:59:59' };
const isRunning = sale => ['open', 'paused'].includes(sale.phase);
/** The value of a partly typed time is empty, so only the control's validity shows the fault. */
const partialTimes = () =>
  ['/starts_at', '/ends_at']
    .filter(pointer => document.getElementById(controlId(pointer)).validity.badInput)
    .map(pointer => ({ pointer, detail: t('bad_time') }));

/** The form changes or copies the sale `loaded`, whose `ETag` is `tag`. */
export function SaleForm({ loaded, tag, isNew, can }) {
  // The newest known state of the sale. The form saves only differences from this state.
  const [{ sale, etag }, setBase] = useState({ sale: loaded, etag: tag });
  const [form, setForm] = useState(() => texts(loaded, isNew));
  const [state, setState] = useState({ busy: false, error: null, done: false });
  const [ask, setAsk] = useState(null);
  const { error } = state;
  const set = (name, value) => {
    setForm({ ...form, [name]: value });
    if (state.done) setState({ ...state, done: false });
  };
  const setItem = (at, name, value) =>
    set('items', form.items.map((item, n) => (n === at ? { ...item, [name]: value } : item)));
  /* A field with several values, such as one for each language, shows only their first fault. */
  const fault = pointer =>
    error?.faults?.find(found => found.pointer && fieldOf(found.pointer) === pointer)?.detail;
  /* A field with `rows` may have several lines. */
  const control = (pointer, label, hint, value, change, { rows, ...more }) => html`<${Field}
    label=${label} hint=${hint} id=${controlId(pointer)} fault=${fault(pointer)}>
    ${props => rows
      ? html`<textarea ...${props} ...${more} rows=${rows} value=${value}
          onInput=${event => change(event.target.value)}></textarea>`
      : html`<input ...${props} ...${more} value=${value}
          onInput=${event => change(event.target.value)} />`}
  <//>`;
  const field = (name, label, hint, more = {}) =>
    control('/' + name, label, hint, form[name], value => set(name, value), more);

  const running = !isNew && isRunning(sale);
  const send = async event => {
    event.preventDefault();
    if (state.busy) return;
    const made = body(form);
    made.faults.push(...partialTimes());
    if (made.faults.length) {
      setState({ busy: false, done: false, error: { faults: made.faults, message: t('see_fields') } });
      return;
    }
    const patch = isNew ? null : patchOf(sale, made.sale);
    const limits = Object.keys(patch?.front_door?.limits ?? {});
    if (running && limits.length) {
      setAsk({
        title: t('edit.limits.title'),
        points: limits.map(scope =>
          `${t('limit.' + scope)}: ${t(`limit.${form.limits[scope].choice}.hint`)}`),
        yes: t('save'),
        act: () => change(patch),
      });
      return;
    }
    await (isNew ? create(made.sale) : change(patch));
  };
  /* The body of a request whose answer was lost. The server may have created this draft. */
  const unsure = useRef(null);
  /* If the lost request has created the draft, a repetition returns the draft. */
  const unlessMade = made => async error => {
    const sent = JSON.stringify(made);
    if (error.status === 0 || error.status >= 500) unsure.current = sent;
    if (error.code !== 'already_exists' || unsure.current !== sent) throw error;
    const found = await api.get(`/v1/admin/sales/${seg(made.id)}`);
    // Another operator's sale may have the same id.
    const isOurs = found.phase === 'draft' && found.items.length === made.items.length &&
      isEmpty(patchOf(found, made));
    if (!isOurs) throw error;
    return found;
  };
  const create = async made => {
    setState({ busy: true, error: null, done: false });
    try {
      const saved = await api.send('POST', '/v1/admin/sales', made)
        .catch(unlessMade(made));
      const items = form.items.map((item, at) => ({ ...item, id: made.items[at].id }));
      const refused = await saveSpreads(sale?.id, saved.id, items);
      if (refused) say(t('spread_not_saved', { error: refused.message }));
      location.hash = `#/sales/${saved.id}`;
    } catch (error) {
      setState({ busy: false, error, done: false });
    }
  };
  const change = async (patch, tag = etag) => {
    setState({ busy: true, error: null, done: false });
    const path = `/v1/admin/sales/${seg(sale.id)}`;
    try {
      const saved = await api.tagged('PATCH', path, patch, tag ? { 'If-Match': tag } : {});
      setBase({ sale: saved.data, etag: saved.etag });
      setState({ busy: false, error: null, done: true });
    } catch (error) {
      // Status 412: another operator changed the sale. The form reads the sale again, and shows the
      // new values in all fields that this operator did not change. If no field of the form has a
      // new value, and the sale did not start or stop, the form saves again at once.
      const now = error.status === 412 && (await api.tagged('GET', path).catch(() => null));
      if (now) {
        const others = patchOf(sale, body(texts(now.data, false)).sale);
        setForm(old => rebased(old, texts(sale, false), texts(now.data, false)));
        setBase({ sale: now.data, etag: now.etag });
        const isSame = !Object.keys(others).length && isRunning(now.data) === running;
        if (isSame && tag === etag) return change(patch, now.etag);
        error.message = t('edit.conflict');
      }
      setState({ busy: false, error, done: false });
    }
  };

  return html`<div class="lead"><h1>${isNew ? t('new_sale') : plainText(sale.title)}</h1>
      ${isNew ? html`<span class="soft">${t('new_sale.about')}</span>`
        : html`<${Phase} phase=${sale.phase} />`}
    </div>
    ${!isNew && html`<${SaleTabs} sale=${sale.id} now="edit" />`}
    ${!can('operator') ? html`<p class="alarm">${t('read_only')}</p>`
      : running && html`<p class="alarm alarm--warn">${t('edit.running')}</p>`}
    <div class="split">
      <form class="sale-form" onSubmit=${send} novalidate>
        <${Errors} error=${error} />
        <section class="card fields"><h2>${t('sale')}</h2>
          ${isNew && field('id', t('id'), t('id_hint'), { required: true, spellcheck: false })}
          ${field('title', t('title'), t('text_hint'), { required: true, rows: 1 })}
          ${field('starts_at', t('starts_at'), t('starts_hint'), TIME)}
          ${field('ends_at', t('ends_at'), t('ends_hint'), TIME)}
        </section>
        ${form.items.map((item, at) => html`<${ItemFields} key=${at} at=${at} item=${item}
          sale=${sale} isNew=${isNew} form=${form} change=${set} control=${control} can=${can}
          set=${(name, value) => setItem(at, name, value)} />`)}
        ${isNew && can('operator') && html`<p><button class="button" type="button" onClick=${() =>
          set('items', [...form.items, newItem(form.items.length + 1)])}>
          ${t('add_item')}</button></p>`}
        <${FrontDoor} form=${form} set=${set} fault=${fault} />
        ${can('operator') && html`<p class="sale-form__do card"><button class="button button--main"
          aria-disabled=${String(state.busy)}>${isNew ? t('create') : t('save')}</button>
          ${state.done && html` <span role="status">${t('saved')}</span>`}
          ${error && html`<span class="fault">${t('see_above')}</span>`}</p>`}
      </form>
      <${Plan} form=${form} />
    </div>
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}
