/* Converts a sale of the API to the texts of the form's fields, and back. */
import { decimal, minorUnits, t } from '/assets/console-kit.js';
import { changed, factsField, factsOf, fieldOf, galleryField, galleryOf,
  textOf } from '/assets/console-texts.js';

/** The choices of the front door. The first choice is the default. */
export const CHOICES = {
  pass: ['off', 'required'],
  challenge: ['off', 'image', 'slider', 'pow'],
  access_codes: ['off', 'required'],
  waiting_room: ['off', 'auto', 'always'],
  rooms: ['sale', 'items'],
};
/* Scopes of rate limits: one buyer, one address, and all requests together. */
export const SCOPES = ['buyer', 'ip', 'interface'];
export const RATES = ['burst', 'per_minute'];

/** Returns the value of a `datetime-local` control, in the visitor's zone. */
const localTime = text => {
  if (!text) return '';
  const at = new Date(text);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
};
const apiTime = text => (text ? new Date(text).toISOString() : null);

export const newItem = n => ({
  copied: null,
  spread: {},
  id: `item-${n}`,
  title: '',
  description: '',
  image: '',
  gallery: '',
  facts: '',
  price: '',
  currency: 'CNY',
  list_price: '',
  stock: '100',
  limit_per_buyer: '1',
  hold_secs: '900',
});

function limitFields(limit) {
  const choice = limit === undefined ? 'default' : limit === null ? 'none' : 'own';
  return { choice, burst: String(limit?.burst ?? ''), per_minute: String(limit?.per_minute ?? '') };
}
const allLimits = limits =>
  Object.fromEntries(SCOPES.map(scope => [scope, limitFields(limits[scope])]));

/** The members `loaded_…` have the original texts as JSON. */
export function texts(sale, isNew) {
  if (!sale) {
    const items = [newItem(1)];
    return { id: '', title: '', starts_at: '', ends_at: '', door: {}, limits: allLimits({}), items };
  }
  const { limits, ...door } = sale.front_door;
  return {
    id: isNew ? '' : sale.id,
    title: fieldOf(sale.title),
    loaded_title: JSON.stringify(sale.title),
    starts_at: isNew ? '' : localTime(sale.starts_at),
    ends_at: isNew ? '' : localTime(sale.ends_at),
    door: { ...door, min_level: String(door.min_level), pow_effort: String(door.pow_effort) },
    limits: allLimits(limits),
    items: sale.items.map(item => ({
      // For a copy of a sale: the item of the original sale whose spread the form copies.
      copied: isNew ? item.id : null,
      spread: {},
      id: item.id,
      title: fieldOf(item.title),
      loaded_title: JSON.stringify(item.title),
      description: fieldOf(item.description),
      loaded_description: JSON.stringify(item.description),
      image: item.image ?? '',
      gallery: galleryField(item.gallery),
      facts: factsField(item.facts),
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

/** Returns the form after another operator changed the sale from `before` to `now`. Fields that
   this operator has changed keep their text. */
export function rebased(form, before, now) {
  if (typeof form !== 'object' || form === null) return form === before ? now : form;
  const pairs = Object.entries(form).map(([name, value]) =>
    [name, rebased(value, before?.[name], now?.[name])]);
  return Array.isArray(form) ? pairs.map(([, value]) => value) : Object.fromEntries(pairs);
}

/** Returns the body of a new sale, and the faults that the form itself finds. */
export function body(form) {
  const faults = [];
  const list = (made, pointer) => {
    if (made === null) faults.push({ pointer, detail: t('bad_lines') });
    return made;
  };
  const price = (text, currency, pointer) => {
    const amount_minor = minorUnits(text, currency);
    if (amount_minor === null) faults.push({ pointer, detail: t('bad_price', { currency }) });
    return { amount_minor, currency };
  };
  const time = (text, pointer) => {
    if (!text || !Number.isNaN(Date.parse(text))) return apiTime(text);
    faults.push({ pointer, detail: t('bad_time') });
    return null;
  };
  const whole = (text, pointer) => {
    if (!/^\d{1,15}$/.test(text.trim())) faults.push({ pointer, detail: t('bad_number') });
    return Number(text);
  };
  const items = form.items.map((item, at) => {
    const currency = item.currency.trim().toUpperCase();
    return {
      id: item.id.trim(),
      title: textOf(item.title, item.loaded_title),
      description: textOf(item.description, item.loaded_description),
      image: item.image.trim() || null,
      gallery: list(galleryOf(item.gallery), `/items/${at}/gallery`),
      facts: list(factsOf(item.facts), `/items/${at}/facts`),
      price: price(item.price, currency, `/items/${at}/price`),
      list_price: item.list_price
        ? price(item.list_price, currency, `/items/${at}/list_price`)
        : null,
      limit_per_buyer: whole(item.limit_per_buyer, `/items/${at}/limit_per_buyer`),
      hold_secs: whole(item.hold_secs, `/items/${at}/hold_secs`),
      stock: item.stock === 'unlimited' ? 'unlimited' : whole(item.stock, `/items/${at}/stock`),
    };
  });
  const front_door = { ...form.door };
  for (const name of ['min_level', 'pow_effort']) {
    if (front_door[name] !== undefined) {
      front_door[name] = whole(front_door[name], '/front_door/' + name);
    }
  }
  front_door.limits = limits(form.limits, whole);
  const sale = {
    id: form.id.trim(),
    title: textOf(form.title, form.loaded_title),
    starts_at: time(form.starts_at, '/starts_at'),
    ends_at: time(form.ends_at, '/ends_at'),
    front_door,
    items,
  };
  return { sale, faults };
}

const differences = (before, after) => Object.fromEntries(
  Object.entries(after).filter(([name, value]) => !isSame(before[name], value)));
const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Returns the patch that changes `sale` to `after`, the body of the form. The patch does not undo
   other operators' changes. */
export function patchOf(sale, after) {
  const before = body(texts(sale, false)).sale;
  const { items, front_door: door, ...patch } = differences(before, after);
  if ('title' in patch) patch.title = changed(sale.title, after.title);
  if (items) {
    // An error of the server names an item by its index in the request. So the list also contains
    // the unchanged items: each index is then the same in the request and in the form.
    patch.items = items.map(({ stock, ...item }, at) => {
      const made = { id: item.id, ...differences(before.items[at], item) };
      for (const name of ['title', 'description']) {
        if (name in made) made[name] = changed(sale.items[at][name], item[name]);
      }
      return made;
    });
  }
  if (door) {
    const were = before.front_door.limits;
    const defaults = Object.fromEntries(Object.keys(were).map(scope => [scope, 'default']));
    const limits = differences(were, { ...defaults, ...door.limits });
    patch.front_door = differences(before.front_door, { ...door, limits: were });
    if (Object.keys(limits).length) patch.front_door.limits = limits;
  }
  return patch;
}

/** Returns whether a patch of [`patchOf`] changes nothing. */
export const isEmpty = ({ items = [], front_door: door = {}, ...rest }) =>
  [rest, door].every(part => Object.keys(part).length === 0) &&
  items.every(({ id, ...item }) => Object.keys(item).length === 0);

/** A scope for which the operator chose the server's default is left out. */
function limits(form, whole) {
  const made = {};
  for (const scope of SCOPES) {
    const { choice, ...numbers } = form[scope];
    if (choice === 'none') made[scope] = null;
    if (choice !== 'own') continue;
    const pairs = RATES.map(rate => [rate, whole(numbers[rate], limitPointer(scope, rate))]);
    made[scope] = Object.fromEntries(pairs);
  }
  return made;
}
export const limitPointer = (scope, rate) => `/front_door/limits/${scope}/${rate}`;
