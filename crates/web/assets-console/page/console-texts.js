/* Converts the shop's texts to fields of a form, and back. A field has one text, or a text for each
   language, each after a tag such as `[en]`. A field for facts or pictures has one fact or picture
   in each line. */

const TAG = /^\[([a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)\][ \t]*\n?/m;

/** Returns the text in the page's language, for headings and lists. */
export function plainText(text, language = document.documentElement.lang.slice(0, 2)) {
  if (typeof text === 'string') return text;
  const tags = Object.keys(text ?? {}).sort();
  const own = tags.find(tag => tag === language || tag.startsWith(language + '-'));
  return text?.[own ?? (tags.includes('en') ? 'en' : tags[0])] ?? '';
}

export const fieldOf = text =>
  typeof text === 'string'
    ? text
    : Object.entries(text).map(([tag, words]) => `[${tag}] ${words}`).join('\n');

/** A field that begins with a tag has a text for each language. If the field still shows the text
   `loaded` (JSON), this text is returned. Without this exception, a plain text in brackets would be
   taken as a tag. */
export function textOf(field, loaded = null) {
  if (loaded && field === fieldOf(JSON.parse(loaded))) return JSON.parse(loaded);
  if (field.search(TAG) !== 0) return field;
  const parts = field.split(new RegExp(TAG, 'gm')).slice(1);
  const text = {};
  for (let at = 0; at < parts.length; at += 2) text[parts[at]] = parts[at + 1].trim();
  return text;
}

/** Returns the patch of a text. In this patch, the value null removes a language. */
export function changed(before, after) {
  if (typeof before !== 'object' || typeof after !== 'object') return after;
  const gone = Object.keys(before).filter(tag => !(tag in after));
  return { ...Object.fromEntries(gone.map(tag => [tag, null])), ...after };
}

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** One fact in each line, such as `Weight: 1.2 kg`. If lines cannot express the facts, for example
   in several languages, the value is JSON. */
export function factsField(facts = []) {
  const lines = facts.map(({ name, value }) => `${name}: ${value}`).join('\n');
  const plain = facts.map(({ name, value }) => ({ name, value }));
  return isSame(factsOf(lines), plain) ? lines : JSON.stringify(facts, null, 1);
}
/** One picture in each line: the address, a space, and what the picture shows. If lines cannot
   express the pictures, the value is JSON. */
export function galleryField(gallery = []) {
  const lines = gallery.map(({ image, alt }) => `${image} ${alt ?? ''}`.trim()).join('\n');
  const plain = gallery.map(({ image, alt }) => ({ image, alt: alt ?? '' }));
  return isSame(galleryOf(lines), plain) ? lines : JSON.stringify(gallery, null, 1);
}

/* Returns null if the text is not valid. */
function listOf(field, entry) {
  if (field.trim().startsWith('[')) {
    try {
      return JSON.parse(field);
    } catch {
      return null;
    }
  }
  const lines = field.split('\n').map(line => line.trim()).filter(Boolean).map(entry);
  return lines.includes(null) ? null : lines;
}
export const factsOf = field =>
  listOf(field, line => {
    const at = line.search(/[:：]/);
    return at < 1 ? null : { name: line.slice(0, at).trim(), value: line.slice(at + 1).trim() };
  });
export const galleryOf = field =>
  listOf(field, line => {
    const [image, ...alt] = line.split(/\s+/);
    return { image, alt: alt.join(' ') };
  });
