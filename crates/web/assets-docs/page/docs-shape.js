/* Shows the schema of a body as nested lists. */
import { el, prose } from '/assets/docs-kit.js';

/** Returns the object behind `{"$ref": …}`, or the object itself. */
export function deref(doc, schema) {
  if (!schema?.$ref) return schema ?? {};
  const parts = schema.$ref.slice(2).split('/');
  const found = parts.reduce((at, part) => at?.[part], doc);
  return { ...found, ...(schema.description && { description: schema.description }) };
}

/** Returns the schema without `null`, and whether the schema allows `null`. */
function withoutNull(doc, schema) {
  const own = deref(doc, schema),
    choices = own.oneOf ?? own.anyOf;
  if (Array.isArray(own.type)) {
    const types = own.type.filter(type => type !== 'null');
    const type = types.length === 1 ? types[0] : types;
    return [{ ...own, type }, types.length < own.type.length];
  }
  if (!choices) return [own, false];
  const rest = choices.filter(choice => choice.type !== 'null' && choice.maxLength !== 0);
  if (rest.length !== 1) return [own, false];
  const only = deref(doc, rest[0]);
  return [
    { ...only, description: own.description ?? only.description },
    choices.some(choice => choice.type === 'null'),
  ];
}

/** Describes a type in a few words, such as "integer, 1 to 200". */
export function typeOf(doc, schema) {
  const [own, nullable] = withoutNull(doc, schema);
  const words = [plainType(doc, own)];
  const { minimum: min, maximum: max, maxLength, minLength } = own;
  if (min !== undefined && max !== undefined) words.push(`${min} to ${max}`);
  else if (min !== undefined) words.push(`at least ${min}`);
  else if (max !== undefined) words.push(`at most ${max}`);
  if (maxLength) words.push(`${minLength ?? 0} to ${maxLength} characters`);
  if (own.default !== undefined) words.push(`default ${JSON.stringify(own.default)}`);
  if (nullable) words.push('or null');
  return words.join(', ');
}

function plainType(doc, own) {
  if (own.enum) return own.enum.map(value => JSON.stringify(value)).join(' | ');
  if (own.const !== undefined) return JSON.stringify(own.const);
  if (own.type === 'array') return `list of ${typeOf(doc, own.items)}`;
  if (own.oneOf) return 'one of';
  if (own.properties || own.allOf) return 'object';
  if (own.additionalProperties) return 'object by name';
  if (Array.isArray(own.type)) return own.type.join(' or ');
  return [own.type ?? 'any', own.format && !/^(u?int|double)/.test(own.format) && own.format]
    .filter(Boolean)
    .join(' ');
}

/** Returns the members, including those from `allOf`. */
function members(doc, schema) {
  const [own] = withoutNull(doc, schema);
  const parts = (own.allOf ?? []).map(part => members(doc, part));
  return {
    properties: Object.assign({}, ...parts.map(part => part.properties), own.properties),
    required: [...parts.flatMap(part => part.required), ...(own.required ?? [])],
  };
}

/** Returns the part that has members. For a list, this is the schema of its entries. For a map,
   this is the schema of its values. */
function inner(doc, schema) {
  const [own] = withoutNull(doc, schema);
  if (own.type === 'array') return inner(doc, own.items);
  if (own.additionalProperties?.$ref || own.additionalProperties?.properties)
    return inner(doc, own.additionalProperties);
  return own;
}

/** Returns null if there are no members. The content of a level is created when the reader opens
   the level. */
export function shape(doc, schema, depth = 0) {
  const own = inner(doc, schema);
  if (own.oneOf) {
    const lists = own.oneOf.map(choice => el('li', {}, variant(doc, choice, depth)));
    return el('ul', { class: 'shape' }, lists);
  }
  const { properties, required } = members(doc, own);
  const names = Object.keys(properties);
  if (!names.length) return null;
  return el(
    'ul',
    { class: 'shape' },
    names.map(name => member(doc, name, properties[name], required.includes(name), depth)),
  );
}

function variant(doc, choice, depth) {
  const own = deref(doc, choice);
  const name = choice.$ref?.split('/').pop() ?? own.title ?? typeOf(doc, own);
  return [el('strong', {}, name), ' ', own.description ?? '', shape(doc, own, depth + 1)];
}

function member(doc, name, schema, required, depth) {
  const own = withoutNull(doc, schema)[0];
  const line = [
    el('code', {}, name),
    ' ',
    el('span', { class: 'soft' }, typeOf(doc, schema) + (required ? '' : ', optional')),
  ];
  const words = deref(doc, schema).description ?? own.description;
  if (words) line.push(el('br'), ...prose(words));
  const deeper = depth < 6 && hasMembers(doc, schema);
  if (!deeper) return el('li', {}, line);
  const box = el('details', {}, el('summary', {}, 'Members of ', el('code', {}, name)));
  box.addEventListener('toggle', () => box.append(shape(doc, schema, depth + 1)), { once: true });
  return el('li', {}, line, box);
}

function hasMembers(doc, schema) {
  const own = inner(doc, schema);
  return Boolean(own.oneOf?.length) || Object.keys(members(doc, own).properties).length > 0;
}

/** Returns the first example of the body or, if there is none, of its schema. */
export function exampleOf(doc, media) {
  if (media?.example !== undefined) return media.example;
  const first = Object.values(media?.examples ?? {})[0]?.value;
  return first ?? deref(doc, media?.schema).examples?.[0];
}
